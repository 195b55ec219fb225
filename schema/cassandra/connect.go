// Package cassandra is where the data's path ends: the keyspace bookstore, its
// tables and roles, and how a program connects to them.
package cassandra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/secret"
)

const (
	// Keyspace holds every table of the project.
	Keyspace = "bookstore"

	// AdminUser is the superuser that Setup makes.
	AdminUser = "admin"
	// JobUser is the role that may read and write the tables.
	JobUser = "bookstore_job"
	// StoreUser is the role that may read the tables.
	StoreUser = "bookstore_store"
)

// ErrCredentials says that Cassandra answered and refused the role or its password.
var ErrCredentials = errors.New("role or password refused")

// Config says where Cassandra is and who connects.
type Config struct {
	Hosts      []string // contact points, host or host:port
	Port       int      // for the hosts without one
	Datacenter string   // the local one; requests stay in it
	User       string
	Password   secret.String
	Keyspace   string // of unqualified table names; "" for none
	TLS        TLS

	// Timeout bounds one connection attempt and one request; 10 s if zero.
	Timeout time.Duration
}

// Connect opens a session. Its error names the hosts; errors.Is(err,
// ErrCredentials) and ErrCertificate tell a refused password or certificate from a node
// that does not answer.
func (c Config) Connect(ctx context.Context) (*gocql.Session, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	encryption, err := c.TLS.Options()
	if err != nil {
		return nil, err
	}
	cluster := gocql.NewCluster(c.Hosts...)
	cluster.SslOpts = encryption
	cluster.Port = c.Port
	cluster.Keyspace = c.Keyspace
	cluster.Timeout = timeout
	cluster.ConnectTimeout = timeout
	cluster.Consistency = gocql.LocalQuorum
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: string(c.Password)}
	cluster.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.DCAwareRoundRobinPolicy(c.Datacenter))
	// A request that a node took and then went away with is for the next one: every
	// statement of the project may be repeated. One that is back is soon used again.
	cluster.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 2}
	cluster.ReconnectInterval = 5 * time.Second
	cluster.Logger = debugLog{}

	// gocql's constructor takes no context: a caller that gives up leaves it to
	// end by itself, and whatever it still opens is closed.
	type result struct {
		session *gocql.Session
		err     error
	}
	done := make(chan result, 1)
	go func() {
		session, err := cluster.CreateSession()
		done <- result{session, err}
	}()
	select {
	case <-ctx.Done():
		go func() {
			if r := <-done; r.session != nil {
				r.session.Close()
			}
		}()
		return nil, fmt.Errorf("connecting to Cassandra at %s: %w", c.addresses(), ctx.Err())
	case r := <-done:
		if r.err != nil {
			return nil, c.explain(r.err)
		}
		return r.session, nil
	}
}

// explain turns gocql's message, which wraps nothing, into an error to branch on.
func (c Config) explain(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "password are incorrect"), strings.Contains(text, "is not permitted to log in"):
		return fmt.Errorf("connecting to Cassandra at %s as %s: %w", c.addresses(), c.User, ErrCredentials)
	case strings.Contains(text, "x509: "), strings.Contains(text, "tls: "):
		return fmt.Errorf("connecting to Cassandra at %s: %w: %s", c.addresses(), ErrCertificate, strings.TrimPrefix(text, "gocql: "))
	case strings.Contains(text, "Keyspace") && strings.Contains(text, "does not exist"):
		return fmt.Errorf("connecting to Cassandra at %s: keyspace %s does not exist: %w", c.addresses(), c.Keyspace, ErrNotSetUp)
	}
	return fmt.Errorf("connecting to Cassandra at %s: %s; is it running?", c.addresses(), strings.TrimPrefix(text, "gocql: "))
}

func (c Config) addresses() string {
	list := make([]string, 0, len(c.Hosts))
	for _, host := range c.Hosts {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, fmt.Sprint(c.Port))
		}
		list = append(list, host)
	}
	return strings.Join(list, ", ")
}

// debugLog keeps gocql's remarks about single connections, which it returns as
// errors anyway when they matter, out of a healthy run's output.
type debugLog struct{}

func (debugLog) Print(v ...any) { slog.Debug(strings.TrimSpace(fmt.Sprint(v...))) }
func (debugLog) Printf(format string, v ...any) {
	slog.Debug(strings.TrimSpace(fmt.Sprintf(format, v...)))
}
func (debugLog) Println(v ...any) { slog.Debug(strings.TrimSpace(fmt.Sprintln(v...))) }
