package service

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/secret"
)

// ErrLogin says that Cassandra answers but takes neither the password that we have
// nor its default one.
var ErrLogin = errors.New("it refuses the role admin with CASSANDRA_ADMIN_PASSWORD, so its data was made with another password: " +
	"put the former .env back, or run clean to start with empty data")

func (b *Builder) cassandra() *Service {
	s := b.base(Cassandra)
	s.Address = loopback(b.Config.CassandraPort)
	s.Ports = []Port{{"CASSANDRA_PORT", b.Config.CassandraPort}, {"CASSANDRA_STORAGE_PORT", b.Config.CassandraStoragePort},
		{"CASSANDRA_METRICS_PORT", b.Config.CassandraMetricsPort}}
	s.Memory = 1400 << 20
	s.Jars = b.jars("cassandra")
	s.Folder = b.data("cassandra")
	s.Start = 180 * time.Second
	s.Drain = 30 * time.Second
	s.Command = func() []string {
		return []string{b.java(), "@" + filepath.Join(b.conf("cassandra"), "jvm.options"),
			"-cp", filepath.Join(b.jars("cassandra").Dir, "*"), "org.apache.cassandra.service.CassandraDaemon"}
	}
	s.Environ = func() []string { return engineEnviron() }
	s.Prepare = func(context.Context) error {
		return b.configure("cassandra", []string{"tmp", "triggers"}, "cassandra.yaml", "jvm.options", "logback.xml", "metrics.yaml")
	}
	s.Answers = func(ctx context.Context) error {
		return cassandraAnswers(ctx, b.Config.CassandraPort, b.Config.AdminPassword)
	}
	return s
}

// cassandraAnswers logs in, as admin or, on a node that has no roles of ours yet, as
// Cassandra's default role.
func cassandraAnswers(ctx context.Context, port int, password secret.String) error {
	if err := dial(ctx, loopback(port)); err != nil {
		return err
	}
	asked, err := cqlLogin(ctx, port, "admin", string(password))
	if err == nil || !asked {
		return err
	}
	if _, err := cqlLogin(ctx, port, "cassandra", "cassandra"); err != nil {
		if ctx.Err() != nil { // it may just be slow
			return err
		}
		return ErrLogin
	}
	return nil
}

// login answers the server's demand for a password and remembers that there was one,
// which tells a refused login from a node that does not speak CQL yet: gocql's error
// does not.
type login struct {
	gocql.PasswordAuthenticator
	asked *atomic.Bool
}

func (l login) Challenge(req []byte) ([]byte, gocql.Authenticator, error) {
	l.asked.Store(true)
	return l.PasswordAuthenticator.Challenge(req)
}

func cqlLogin(ctx context.Context, port int, user, password string) (asked bool, err error) {
	auth := login{gocql.PasswordAuthenticator{Username: user, Password: password}, new(atomic.Bool)}
	cluster := gocql.NewCluster("127.0.0.1")
	cluster.Port = port
	cluster.ProtoVersion = 4
	cluster.Authenticator = auth
	cluster.DisableInitialHostLookup = true
	cluster.ConnectTimeout = remaining(ctx, 5*time.Second)
	cluster.Timeout = cluster.ConnectTimeout
	cluster.NumConns = 1
	cluster.Logger = silent{}
	session, err := cluster.CreateSession()
	if err != nil {
		return auth.asked.Load(), err
	}
	session.Close()
	return true, nil
}

// silent drops what gocql says of each attempt: the error says it too.
type silent struct{}

func (silent) Print(...any)          {}
func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}
