package jars

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeMaven is a script in the place of mvn that gets the folder as $out.
func fakeMaven(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mvn")
	text := "#!/bin/sh\nfor arg; do case $arg in -DoutputDirectory=*) out=${arg#*=};; esac; done\n" + script
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func newSet(t *testing.T) Set {
	t.Helper()
	t.Setenv("ENGINE_VERSION", "1.0")
	dir := t.TempDir()
	s := Set{Name: "engine", POM: filepath.Join(dir, "pom.xml"), Dir: filepath.Join(dir, "jars", "engine")}
	if err := os.WriteFile(s.POM, []byte("<version>${env.ENGINE_VERSION}</version>"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func wantPresent(t *testing.T, s Set, want bool) {
	t.Helper()
	got, err := s.Present()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Present() = %t, want %t", got, want)
	}
}

func TestFetch(t *testing.T) {
	s := newSet(t)
	wantPresent(t, s, false)
	if err := s.Fetch(t.Context(), fakeMaven(t, `echo old >"$out/old.jar"`)); err != nil {
		t.Fatal(err)
	}
	wantPresent(t, s, true)

	t.Setenv("ENGINE_VERSION", "2.0")
	wantPresent(t, s, false)
	if err := s.Fetch(t.Context(), fakeMaven(t, `echo new >"$out/new.jar"`)); err != nil {
		t.Fatal(err)
	}
	wantPresent(t, s, true)
	if jars, _ := filepath.Glob(filepath.Join(s.Dir, "*.jar")); len(jars) != 1 || filepath.Base(jars[0]) != "new.jar" {
		t.Errorf("jars = %q, want only new.jar", jars)
	}

	if err := os.WriteFile(s.POM, []byte("<version>${env.ENGINE_VERSION}</version><more/>"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantPresent(t, s, false)
}

func TestFetchThatMavenRefuses(t *testing.T) {
	s := newSet(t)
	err := s.Fetch(t.Context(), fakeMaven(t, `echo x >"$out/half.jar"; echo "[ERROR] no such artifact"; exit 1`))
	if err == nil || !strings.Contains(err.Error(), "fetching the jars of engine") || !strings.Contains(err.Error(), "no such artifact") {
		t.Errorf("error = %v, want one that names the engine and says what Maven said", err)
	}
	wantPresent(t, s, false)
}

func TestInterruptedFetchIsDoneAgain(t *testing.T) {
	s := newSet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.Fetch(ctx, fakeMaven(t, `echo x >"$out/half.jar"; exec sleep 60`))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the context's", err)
	}
	wantPresent(t, s, false)
	if err := s.Fetch(t.Context(), fakeMaven(t, `echo x >"$out/whole.jar"`)); err != nil {
		t.Fatal(err)
	}
	wantPresent(t, s, true)
	if _, err := os.Stat(filepath.Join(s.Dir, "half.jar")); err == nil {
		t.Error("a jar of the interrupted fetch is left")
	}
}

func TestVersionThatIsNotSet(t *testing.T) {
	s := newSet(t)
	t.Setenv("ENGINE_VERSION", "")
	if _, err := s.Present(); err == nil || !strings.Contains(err.Error(), "ENGINE_VERSION is not set") {
		t.Errorf("error = %v, want one that names ENGINE_VERSION", err)
	}
}
