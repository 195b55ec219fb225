package service

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"example.com/bookstore/schema/secret"
)

// ErrLogin says that Cassandra answers but takes neither the password that we have
// nor its default one.
var ErrLogin = errors.New("it refuses the role admin with CASSANDRA_ADMIN_PASSWORD, so its data was made with another password: " +
	"put the former .env back, or run clean to start with empty data")

func (b *Builder) cassandras() []*Service { return together(nodes(b.Config.Nodes), b.cassandra) }

func (b *Builder) cassandra(n node) *Service {
	s := b.base(n.name(Cassandra))
	s.Address = n.address(b.Config.CassandraPort)
	s.Ports = []Port{{"CASSANDRA_PORT", b.Config.CassandraPort}, {"CASSANDRA_STORAGE_PORT", b.Config.CassandraStoragePort},
		{"CASSANDRA_METRICS_PORT", b.Config.CassandraMetricsPort}}
	s.Memory = 1400 << 20
	s.Jars = b.jars("cassandra")
	s.Folder = b.data(s.Name)
	s.Start = 180 * time.Second * time.Duration(max(b.Config.Nodes, 1)) // all start at once
	s.Drain = 30 * time.Second
	s.Command = func() []string {
		return []string{b.java(), "@" + filepath.Join(b.conf(s.Name), "jvm.options"),
			"-cp", filepath.Join(b.jars("cassandra").Dir, "*"), "org.apache.cassandra.service.CassandraDaemon"}
	}
	s.Environ = func() []string { return engineEnviron() }
	s.Prepare = func(context.Context) error {
		return b.configureCassandra(n)
	}
	s.Answers = func(ctx context.Context) error {
		return b.cassandraAnswers(ctx, n, b.Config.CassandraPort, b.Config.AdminPassword)
	}
	return s
}

// configureCassandra fills in the configuration of one node. Every one is a seed: so
// none has to wait for another, not the first time either.
func (b *Builder) configureCassandra(n node) error {
	var seeds []string
	for _, other := range nodes(b.Config.Nodes) {
		seeds = append(seeds, other.address(b.Config.CassandraStoragePort))
	}
	err := b.configure("cassandra", n, map[string]string{"CASSANDRA_SEEDS": strings.Join(seeds, ",")}, []string{"tmp", "triggers"},
		"cassandra.yaml", "jvm.options", "logback.xml", "metrics.yaml", "tls.yaml")
	if err != nil || !b.Config.TLS {
		return err
	}
	return extend(b.conf(n.name(Cassandra)), "cassandra.yaml", "tls.yaml")
}

// cassandraAnswers logs in, as admin or, on a node that has no roles of ours yet, as
// Cassandra's default role.
func (b *Builder) cassandraAnswers(ctx context.Context, n node, port int, password secret.String) error {
	if err := dial(ctx, n.address(port)); err != nil {
		return err
	}
	asked, err := b.cqlLogin(ctx, n, port, "admin", string(password))
	if err == nil || !asked {
		return err
	}
	if _, err := b.cqlLogin(ctx, n, port, "cassandra", "cassandra"); err != nil {
		// It may just be slow, or not have found enough of the others yet.
		if ctx.Err() != nil || strings.Contains(err.Error(), "Unable to perform authentication") {
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

func (b *Builder) cqlLogin(ctx context.Context, n node, port int, user, password string) (asked bool, err error) {
	auth := login{gocql.PasswordAuthenticator{Username: user, Password: password}, new(atomic.Bool)}
	encryption, err := b.Config.CassandraTLS.Options()
	if err != nil {
		return false, err
	}
	cluster := gocql.NewCluster(n.host)
	cluster.SslOpts = encryption
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
