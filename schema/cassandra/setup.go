package cassandra

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/gocql/gocql"
	"github.com/golang-migrate/migrate/v4"
	migratecassandra "github.com/golang-migrate/migrate/v4/database/cassandra"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

// Migrations are ordered CQL files. Each is safe to run again, since CQL has no
// transaction to undo half of one.
//
//go:embed migrations/*.cql
var Migrations embed.FS

//go:embed *.cql.tmpl
var templateFiles embed.FS

// DDL takes no bound values, so the templates quote for themselves.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"literal": func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" },
	"quote":   func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` },
}).ParseFS(templateFiles, "*.cql.tmpl"))

// SetupConfig is what Setup needs beside a connection.
type SetupConfig struct {
	Admin             Config // user and password of the superuser to connect as, made if absent
	ReplicationFactor int    // copies of each row in the datacenter, at least 1
	JobPassword       string
	StorePassword     string
}

// Setup brings a Cassandra cluster to what the project needs: the admin role in
// place of the default superuser, the keyspace, every migration, and the roles of
// job and store with the passwords given. What is already there stays as it is,
// so it may run at every start.
func Setup(ctx context.Context, c SetupConfig) error {
	session, err := connectAdmin(ctx, c.Admin)
	if err != nil {
		return err
	}
	defer session.Close()
	data := struct {
		SetupConfig
		Datacenter string
	}{c, c.Admin.Datacenter}
	if err := run(ctx, session, "keyspace.cql.tmpl", data); err != nil {
		return fmt.Errorf("creating keyspace %s: %w", Keyspace, err)
	}
	if err := migrateUp(ctx, c.Admin); err != nil {
		return fmt.Errorf("migrating keyspace %s: %w", Keyspace, err)
	}
	if err := run(ctx, session, "roles.cql.tmpl", data); err != nil {
		return fmt.Errorf("creating roles %s and %s: %w", JobUser, StoreUser, err)
	}
	return nil
}

// connectAdmin connects as the admin. On a new cluster it makes that role with
// the superuser that Cassandra starts with, and locks the latter.
func connectAdmin(ctx context.Context, admin Config) (*gocql.Session, error) {
	admin.Keyspace = ""
	session, err := admin.Connect(ctx)
	if errors.Is(err, ErrCredentials) {
		if makeErr := makeAdmin(ctx, admin); makeErr != nil {
			if errors.Is(makeErr, ErrCredentials) {
				return nil, fmt.Errorf("%w; CASSANDRA_ADMIN_PASSWORD is not the one this cluster was set up with", err)
			}
			return nil, fmt.Errorf("creating role %s: %w", admin.User, makeErr)
		}
		session, err = admin.Connect(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := run(ctx, session, "default_superuser.cql.tmpl", nil); err != nil {
		session.Close()
		return nil, fmt.Errorf("disabling the default superuser: %w", err)
	}
	return session, nil
}

func makeAdmin(ctx context.Context, admin Config) error {
	initial := admin
	initial.User, initial.Password = "cassandra", "cassandra"
	session, err := initial.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	return run(ctx, session, "superuser.cql.tmpl", admin)
}

// run executes the statements of one template. Errors carry no statement text,
// which may hold a password.
func run(ctx context.Context, session *gocql.Session, name string, data any) error {
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, name, data); err != nil {
		return err
	}
	for statement := range strings.SplitSeq(text.String(), ";\n") {
		if statement = strings.TrimSpace(statement); statement == "" {
			continue
		}
		if err := session.Query(statement).WithContext(ctx).Exec(); err != nil {
			return err
		}
	}
	return session.AwaitSchemaAgreement(ctx)
}

func migrateUp(ctx context.Context, admin Config) error {
	admin.Keyspace = Keyspace
	session, err := admin.Connect(ctx)
	if err != nil {
		return err
	}
	driver, err := migratecassandra.WithInstance(session, &migratecassandra.Config{
		KeyspaceName: Keyspace, MultiStatementEnabled: true,
	})
	if err != nil {
		session.Close()
		return err
	}
	files, err := iofs.New(Migrations, "migrations")
	if err != nil {
		session.Close()
		return err
	}
	m, err := migrate.NewWithInstance("migrations", files, Keyspace, driver)
	if err != nil {
		session.Close()
		return err
	}
	err = m.Up()
	if dirty := (migrate.ErrDirty{}); errors.As(err, &dirty) {
		// A run ended in the middle of this version. It may run again.
		before := dirty.Version - 1
		if before < 1 {
			before = -1 // golang-migrate's "no version"
		}
		if err = m.Force(before); err == nil {
			err = m.Up()
		}
	}
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	sourceErr, closeErr := m.Close()
	return errors.Join(err, sourceErr, closeErr)
}
