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

	"github.com/labstack/echo/v4"

	"example.com/bookstore/producer/catalogue"
	"example.com/bookstore/producer/cover"
)

//go:embed page
var files embed.FS

// layout is what the frame around each page needs, the templates "top" and "bottom".
// The data of a page embeds it.
type layout struct {
	Title   string   // of the window
	Section string   // of the navigation that the page is: home, shelves, me, live, or none
	Query   string   // in the search field
	Styles  []string // names of assets beyond store.css
	Scripts []string // names of assets
}

// pages is what the store shows to people.
type pages struct {
	templates *template.Template
	assets    map[string]file // by file name
	covers    map[string]file // by file name

	// The same for every visitor, and so rendered once.
	index, shelves file
	shelf          map[string]file // by the shelf's id
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

// contentTypes are not left to the machine's own table, which may lack them.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func renderPages() (*pages, error) {
	p := &pages{assets: map[string]file{}, covers: map[string]file{}, shelf: map[string]file{}}
	if err := p.readAssets(); err != nil {
		return nil, err
	}
	if err := p.drawCovers(); err != nil {
		return nil, err
	}
	var err error
	// The hash in an address lets a browser keep the file for good.
	p.templates, err = template.New("").Funcs(template.FuncMap{
		"asset": func(name string) (string, error) { return address("/assets/", name, p.assets) },
		"cover": func(id string) (string, error) { return address("/covers/", id+".svg", p.covers) },
	}).ParseFS(files, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the pages' templates: %w", err)
	}
	if err := p.renderListings(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *pages) readAssets() error {
	names, err := fs.Glob(files, "page/assets/*")
	if err != nil {
		return fmt.Errorf("listing the assets: %w", err)
	}
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading an asset: %w", err)
		}
		p.assets[path.Base(name)] = newFile(content, contentTypes[path.Ext(name)])
	}
	return nil
}

func (p *pages) drawCovers() error {
	for _, shelf := range catalogue.Shelves() {
		for _, b := range shelf.Books {
			drawing, err := cover.Draw(b, shelf.Design)
			if err != nil {
				return err
			}
			p.covers[b.ID+".svg"] = newFile(drawing, contentTypes[".svg"])
		}
	}
	return nil
}

func address(folder, name string, files map[string]file) (string, error) {
	f, ok := files[name]
	if !ok {
		return "", fmt.Errorf("no file %s%s", folder, name)
	}
	return folder + name + "?v=" + f.tag, nil
}

// render fills a template of the folder page.
func (p *pages) render(name string, data any) ([]byte, error) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, data); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return body.Bytes(), nil
}

// show answers with a page that is rendered for this request alone.
func (s *Server) show(c echo.Context, status int, name string, data any) error {
	body, err := s.pages.render(name, data)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "private, no-store")
	return c.HTMLBlob(status, body)
}

// serve answers with a file, or that the client has it already.
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

// listing serves a page that is the same for everyone, and gives a new visitor the
// cookie.
func listing(c echo.Context, f file) error {
	newVisitor(c).id("")
	return serve(c, f, "private, no-cache")
}

// asset serves a style sheet, script or image of the pages.
func (s *Server) asset(c echo.Context) error { return versioned(c, s.pages.assets) }

// cover serves a book's cover, a drawing of 200 by 300 units.
func (s *Server) cover(c echo.Context) error { return versioned(c, s.pages.covers) }

// versioned serves the file that the path names, for good if the address has its hash.
func versioned(c echo.Context, files map[string]file) error {
	f, ok := files[c.Param("name")]
	if !ok {
		return echo.ErrNotFound
	}
	caching := "no-cache"
	if c.QueryParam("v") == f.tag {
		caching = "public, max-age=31536000, immutable"
	}
	return serve(c, f, caching)
}
