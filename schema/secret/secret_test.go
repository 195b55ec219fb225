package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

type config struct {
	User     string
	Password String
	Inner    struct{ Passwords []String }
	Pointer  *String
}

func TestItShowsNowhere(t *testing.T) {
	const password = "hush"
	value := String(password)
	c := config{User: "u", Password: value, Pointer: &value}
	c.Inner.Passwords = []String{value}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%10s"} {
		shown = append(shown, fmt.Sprintf(verb, value), fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, []String{value}))
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(text), errors.New("with "+value.String()).Error(), fmt.Errorf("with %w", fmt.Errorf("%v", c)).Error())
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("settings", "password", value, "config", c, "list", []String{value})
	}
	shown = append(shown, log.String())
	for _, text := range shown {
		if strings.Contains(text, password) || strings.Contains(text, fmt.Sprintf("%x", password)) {
			t.Errorf("it shows: %s", text)
		}
	}
}

func TestItSaysWhetherThereIsOne(t *testing.T) {
	if got := String("").String(); got != "" {
		t.Errorf("none shows as %q", got)
	}
	if got := fmt.Sprint(String("hush")); got != "(hidden)" {
		t.Errorf("one shows as %q", got)
	}
}

func TestItIsStillThere(t *testing.T) {
	if got := string(String("hush")); got != "hush" {
		t.Errorf("a client gets %q", got)
	}
}
