package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/user"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

const defaultPort = "15002"

// remote is a connection string, taken apart.
type remote struct {
	address   string // host:port
	userID    string
	sessionID string
	userAgent string
	token     string
	tls       bool
	headers   map[string]string
}

// parseRemote reads a connection string as Spark documents it:
// sc://host:port/;name=value;name=value, values percent-encoded. It reports
// every mistake at once, and never the token.
func parseRemote(connection string) (remote, error) {
	u, err := url.Parse(connection)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the string itself, which may hold a token
		}
		return remote{}, fmt.Errorf("reading the connection string: %w", err)
	}
	r := remote{headers: map[string]string{}}
	var mistakes []error
	mistake := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("connection string: "+format, args...))
	}

	if u.Scheme != "sc" {
		mistake("it starts with sc://, not with %q", u.Scheme)
	}
	if u.Hostname() == "" {
		mistake("it names no host")
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		mistake("port %q is not between 1 and 65535", port)
	}
	r.address = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		mistake("a user goes into ;user_id=, not before the host")
	}
	if u.RawQuery != "" {
		mistake("parameters start with ;, not with ?")
	}

	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if path != "" && !strings.HasPrefix(path, ";") {
		mistake("parameters follow /; after host and port")
		path = ""
	}
	plaintext := false
	for _, parameter := range strings.Split(path, ";") {
		if parameter == "" {
			continue
		}
		name, raw, ok := strings.Cut(parameter, "=")
		value, err := url.PathUnescape(raw)
		if !ok || err != nil || name == "" || value == "" {
			mistake("parameter %q is not of the form name=value", name)
			continue
		}
		switch name {
		case "user_id":
			r.userID = value
		case "session_id":
			if _, err := uuid.Parse(value); err != nil {
				mistake("session_id %q is not a UUID", value)
			}
			r.sessionID = value
		case "user_agent":
			r.userAgent = value
		case "token":
			r.token = value
		case "use_ssl":
			on, err := strconv.ParseBool(value)
			if err != nil {
				mistake("use_ssl is true or false, not %q", value)
			}
			r.tls = on
			plaintext = err == nil && !on
		default:
			r.headers[strings.ToLower(name)] = value
		}
	}
	if r.token != "" {
		if plaintext {
			mistake("a token is only sent over TLS: leave use_ssl=false out")
		}
		r.tls = true
	}
	if r.userID == "" {
		r.userID = "na" // what Spark's own clients call an unknown user
		if u, err := user.Current(); err == nil && u.Username != "" {
			r.userID = u.Username
		}
	}
	if r.sessionID == "" {
		r.sessionID = uuid.NewString()
	}
	return r, errors.Join(mistakes...)
}

// bearer sends a token with each call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (b bearer) RequireTransportSecurity() bool { return true }
