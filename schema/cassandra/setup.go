package cassandra

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gocql/gocql"
	"github.com/golang-migrate/migrate/v4"
	migratecassandra "github.com/golang-migrate/migrate/v4/database/cassandra"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"golang.org/x/crypto/bcrypt"

	"example.com/bookstore/schema/secret"
)

// Migrations are ordered CQL files. Each is safe to run again, since CQL has no
// transaction to undo half of one.
//
//go:embed migrations/*.cql
var Migrations embed.FS

//go:embed *.cql.tmpl
var templateFiles embed.FS

// DDL takes no bound values, so the templates quote for themselves. A password
// leaves this process only as its hash: Cassandra keeps the text of statements in
// system.prepared_statements and in logs.
var templateFuncs = template.FuncMap{
	"hash": func(password secret.String) (string, error) {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
		return "'" + string(hash) + "'", err
	},
	"literal": func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" },
	"quote":   func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` },
}

// SetupConfig is what Setup needs beside a connection.
type SetupConfig struct {
	Admin             Config // user and password of the superuser to connect as, made if absent
	ReplicationFactor int    // copies of each row in the datacenter, at least 1
	JobPassword       secret.String
	StorePassword     secret.String
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
	if err := checkCopies(ctx, session, c); err != nil {
		return err
	}
	if err := migrateUp(ctx, c.Admin); err != nil {
		return fmt.Errorf("migrating keyspace %s: %w", Keyspace, err)
	}
	if err := run(ctx, session, "roles.cql.tmpl", data); err != nil {
		return fmt.Errorf("creating roles %s and %s: %w", JobUser, StoreUser, err)
	}
	return nil
}

// checkCopies reports a keyspace of fewer copies than asked for. More of them are more
// than a statement: each node has to be given its rows.
func checkCopies(ctx context.Context, session *gocql.Session, c SetupConfig) error {
	var replication map[string]string
	if err := session.Query(keyspaceReplication, Keyspace).WithContext(ctx).Scan(&replication); err != nil {
		return fmt.Errorf("reading the replication of keyspace %s: %w", Keyspace, err)
	}
	copies, err := strconv.Atoi(replication[c.Admin.Datacenter])
	if err != nil {
		return fmt.Errorf("keyspace %s has no copies in datacenter %s, but %v: is CASSANDRA_DATACENTER right?",
			Keyspace, c.Admin.Datacenter, replication)
	}
	if copies < c.ReplicationFactor {
		return fmt.Errorf("keyspace %s has replication factor %d in %s, and CASSANDRA_REPLICATION_FACTOR is %d: "+
			"raise it with ALTER KEYSPACE and run nodetool repair --full on each node, or set CASSANDRA_REPLICATION_FACTOR=%[2]d",
			Keyspace, copies, c.Admin.Datacenter, c.ReplicationFactor)
	}
	return nil
}

var (
	//go:embed queries/keyspace_replication.cql
	keyspaceReplication string
	//go:embed queries/migration_version.cql
	migrationVersion string
	//go:embed queries/roles.cql
	roles string
)

// ErrNotSetUp says that the keyspace, a table or a role of the project is missing.
var ErrNotSetUp = errors.New("not set up")

// Check reports whether the keyspace that session uses has every migration. Its
// error is ErrNotSetUp if not.
func Check(ctx context.Context, session *gocql.Session) error {
	latest, err := latestMigration()
	if err != nil {
		return err
	}
	var version int
	var dirty bool
	err = session.Query(migrationVersion).WithContext(ctx).Scan(&version, &dirty)
	if err != nil && !errors.Is(err, gocql.ErrNotFound) {
		return fmt.Errorf("reading the version of keyspace %s: %w", Keyspace, err)
	}
	if version < latest || dirty {
		return fmt.Errorf("keyspace %s is at version %d, not %d: %w", Keyspace, version, latest, ErrNotSetUp)
	}
	return nil
}

// NeedsSetup asks, as the admin, whether Setup has something to make: on a new
// cluster, or where the keyspace, a migration or a role is missing.
func NeedsSetup(ctx context.Context, admin Config) (bool, error) {
	admin.Keyspace = Keyspace
	session, err := admin.Connect(ctx)
	if errors.Is(err, ErrCredentials) {
		initial := admin
		initial.Keyspace, initial.User, initial.Password = "", defaultSuperuser, defaultSuperuser
		if session, initialErr := initial.Connect(ctx); initialErr == nil {
			session.Close()
			return true, nil
		}
		return false, err
	}
	if errors.Is(err, ErrNotSetUp) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer session.Close()
	if err := Check(ctx, session); errors.Is(err, ErrNotSetUp) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	want := []string{JobUser, StoreUser}
	have := session.Query(roles, want).WithContext(ctx).Iter()
	count := have.NumRows()
	return count < len(want), have.Close()
}

func latestMigration() (int, error) {
	entries, err := Migrations.ReadDir("migrations")
	if err != nil {
		return 0, err
	}
	number, _, _ := strings.Cut(entries[len(entries)-1].Name(), "_") // ReadDir sorts by name
	return strconv.Atoi(number)
}

const (
	// defaultSuperuser is the role, and its password, that Cassandra starts with.
	defaultSuperuser = "cassandra"
	// firstRole is how long a new node may take to make it.
	firstRole = 10 * time.Second
)

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
	initial.User, initial.Password = defaultSuperuser, defaultSuperuser
	// A new node answers some moments before it has made its first role.
	session, err := backoff.Retry(ctx, func() (*gocql.Session, error) {
		session, err := initial.Connect(ctx)
		if err != nil && !errors.Is(err, ErrCredentials) {
			err = backoff.Permanent(err)
		}
		return session, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(500*time.Millisecond)), backoff.WithMaxElapsedTime(firstRole))
	if err != nil {
		return err
	}
	defer session.Close()
	return run(ctx, session, "superuser.cql.tmpl", admin)
}

// run executes the statements of one template file.
func run(ctx context.Context, session *gocql.Session, name string, data any) error {
	text, err := templateFiles.ReadFile(name)
	if err != nil {
		return err
	}
	// Taken apart before values are filled in, which may hold anything.
	for source := range strings.SplitSeq(strings.TrimSpace(string(text)), ";\n") {
		statement, err := template.New(name).Funcs(templateFuncs).Parse(strings.TrimSuffix(source, ";"))
		if err != nil {
			return err
		}
		var cql strings.Builder
		if err := statement.Execute(&cql, data); err != nil {
			return err
		}
		if err := session.Query(cql.String()).WithContext(ctx).Exec(); err != nil {
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
