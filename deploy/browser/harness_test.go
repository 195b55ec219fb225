//go:build integration

// Package browser tests the store's pages in a real Chromium, as a visitor meets them:
// with JavaScript and without, on a phone and at a desk, by eye, by keyboard and by
// ear. The store needs Kafka alone:
//
//	npm ci --prefix deploy/browser
//	go run ./deploy/stack exec --only kafka -- go test -tags integration ./deploy/browser
//
// With SCREENSHOTS_DIR set to a folder, it writes there what it has seen.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"example.com/bookstore/schema/kafkaclient"
	"example.com/bookstore/schema/topic"
)

// program is the store, built once.
var program string

func TestMain(m *testing.M) {
	if os.Getenv("KAFKA_BOOTSTRAP_SERVERS") == "" {
		fmt.Fprintln(os.Stderr, "KAFKA_BOOTSTRAP_SERVERS is not set: run these tests with `task test`")
		os.Exit(1)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "browser")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "store")
	build := exec.Command("go", "build", "-o", program, "../../producer")
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		build.Args = slices.Insert(build.Args, 2, "-race") // as the tests themselves
	}
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "building the store: %v\n", err)
		return 1
	}
	return m.Run()
}

// store is the real program, with a topic of its own.
type store struct {
	url   string
	topic string
}

// startStore runs the store until the test ends.
func startStore(t testing.TB, env ...string) store {
	t.Helper()
	s := store{topic: "browser_" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	admin, err := topic.NewAdmin(kafkaclient.Config{BootstrapServers: os.Getenv("KAFKA_BOOTSTRAP_SERVERS")}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Ensure(t.Context(), topic.Spec{Name: s.topic, Partitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	s.url = "http://" + address

	var output syncBuffer
	cmd := exec.Command(program)
	cmd.Dir = t.TempDir() // so that no .env is read
	cmd.Env = append(append(os.Environ(), "STORE_ADDR="+address, "KAFKA_TOPIC="+s.topic), env...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(40 * time.Second):
			cmd.Process.Kill()
			<-done
			t.Error("the store did not end within 40 s of SIGTERM")
		}
		if t.Failed() {
			t.Logf("output of the store:\n%s", output.String())
		}
	})
	eventually(t, 20*time.Second, func() error {
		select {
		case err := <-done:
			done <- err
			t.Fatalf("the store ended: %v\n%s", err, output.String())
		default:
		}
		response, err := http.Get(s.url + "/healthz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New("/healthz: " + response.Status)
		}
		return nil
	})
	return s
}

type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually polls until check returns nil, and fails the test with its last error
// when time is over.
func eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", timeout, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tab is one tab of a Chromium of the test's own.
type tab struct {
	ctx context.Context
	t   testing.TB

	mu       sync.Mutex
	requests []string // addresses that the pages have asked for
}

// openBrowser starts a real Chromium without a window.
func openBrowser(t testing.TB) *tab {
	t.Helper()
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Fatal("no browser: install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t}
	// The browser lives as long as this context.
	if err := chromedp.Listen(ctx, func(event any) {
		if request, ok := event.(*network.EventRequestWillBeSent); ok {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.requests = append(b.requests, request.Request.URL)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	b.ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return b
}

// do runs actions and fails the test if one cannot be done within a while.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("at %s: %v", b.address(), err)
	}
}

// eval returns the value of a JavaScript expression, awaited if it is a promise.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("at %s: evaluating %.200s: %v", b.address(), expression, err)
	}
	return value
}

func (b *tab) address() string {
	address, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		return "an unknown page"
	}
	return address
}

// text is what an element says.
func (b *tab) text(selector string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.TextContent(chromedp.CSS(selector)))
	if err != nil {
		b.t.Fatalf("at %s: no %s: %v", b.address(), selector, err)
	}
	return strings.Join(strings.Fields(text), " ")
}

// withoutScripts switches JavaScript off, as a visitor may. The test's own
// expressions are still evaluated.
func (b *tab) withoutScripts() { b.t.Helper(); b.disableScripts(true) }

func (b *tab) withScripts() { b.t.Helper(); b.disableScripts(false) }

func (b *tab) disableScripts(disabled bool) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled}); err != nil {
		b.t.Fatal(err)
	}
}

// look is how a visitor sees the pages.
type look struct {
	device        string
	width, height int64
	scheme        string // of colours, light or dark
}

func (l look) String() string { return l.device + "-" + l.scheme }

var looks = []look{
	{"desktop", 1280, 900, "light"}, {"desktop", 1280, 900, "dark"},
	{"phone", 390, 844, "light"}, {"phone", 390, 844, "dark"},
}

// as makes the tab show pages in the given look, without motion.
func (b *tab) as(l look) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.device == "phone",
	})
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// strangers are the addresses beyond the store that pages have asked for.
func (b *tab) strangers(s store) (addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		b.t.Error("no request was seen")
	}
	for _, address := range b.requests {
		if !strings.HasPrefix(address, s.url+"/") && !strings.HasPrefix(address, "data:") {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
