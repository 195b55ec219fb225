package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
)

//go:embed page
var files embed.FS

// pages is what the store shows to people. It is the same for every visitor, so it
// is rendered once.
type pages struct {
	index  file
	assets map[string]file // by file name
	errors *template.Template
}

type file struct {
	content     []byte
	contentType string
	tag         string // hash of the content
}

func newFile(content []byte, contentType string) file {
	sum := sha256.Sum256(content)
	return file{content, contentType, hex.EncodeToString(sum[:8])}
}

func renderPages() (*pages, error) {
	p := &pages{assets: map[string]file{}}
	names, err := fs.Glob(files, "page/assets/*")
	if err != nil {
		return nil, fmt.Errorf("listing the assets: %w", err)
	}
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading an asset: %w", err)
		}
		p.assets[path.Base(name)] = newFile(content, contentTypes[path.Ext(name)])
	}
	templates, err := template.New("").Funcs(template.FuncMap{
		// The hash in the address lets a browser keep the file for good.
		"asset": func(name string) (string, error) {
			a, ok := p.assets[name]
			if !ok {
				return "", fmt.Errorf("no asset %s", name)
			}
			return "/assets/" + name + "?v=" + a.tag, nil
		},
		"coverTitle": coverTitle,
	}).ParseFS(files, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page's templates: %w", err)
	}
	var index bytes.Buffer
	if err := templates.ExecuteTemplate(&index, "index.html", catalogue.Shelves()); err != nil {
		return nil, fmt.Errorf("rendering the page: %w", err)
	}
	p.index = newFile(index.Bytes(), echo.MIMETextHTMLCharsetUTF8)
	p.errors = templates.Lookup("error.html")
	return p, nil
}

// contentTypes are not left to the machine's own table, which may lack them.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// coverTitle is a title as a cover has room for it: without its subtitle.
func coverTitle(title string) string {
	if i := strings.IndexAny(title, ";:,"); i > 0 {
		return title[:i]
	}
	return title
}

// index shows the catalogue and gives a new visitor the cookie.
func (s *Server) index(c echo.Context) error {
	newVisitor(c).id("")
	return serve(c, s.pages.index, "private, no-cache")
}

// asset serves a style sheet, script or image of the page.
func (s *Server) asset(c echo.Context) error {
	a, ok := s.pages.assets[c.Param("name")]
	if !ok {
		return echo.ErrNotFound
	}
	caching := "no-cache"
	if c.QueryParam("v") == a.tag {
		caching = "public, max-age=31536000, immutable"
	}
	return serve(c, a, caching)
}

func serve(c echo.Context, f file, caching string) error {
	h := c.Response().Header()
	tag := `W/"` + f.tag + `"` // weak, since it is the same with and without gzip
	h.Set(echo.HeaderCacheControl, caching)
	h.Set("ETag", tag)
	if c.Request().Header.Get("If-None-Match") == tag {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, f.contentType, f.content)
}

func (s *Server) errorPage(c echo.Context, problem *Problem) error {
	var body bytes.Buffer
	title := http.StatusText(problem.Status)
	if err := s.pages.errors.Execute(&body, map[string]any{"Status": problem.Status, "Title": title, "Detail": problem.Detail}); err != nil {
		return fmt.Errorf("rendering the error page: %w", err)
	}
	return c.HTMLBlob(problem.Status, body.Bytes())
}
