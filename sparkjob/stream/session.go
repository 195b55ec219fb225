package stream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	"github.com/apache/spark-connect-go/spark/sql"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// maxMessageSize is the server's own default limit, in bytes. gRPC's default
// for a client is 4 MiB, which a batch of rows exceeds.
const maxMessageSize = 128 << 20

// Session is a connection to a session on a Spark Connect server. It is safe
// for use by several goroutines.
//
// A session lives on the server, under its user id and session id. Another
// process that connects with both joins it, and can watch and stop its queries.
// The server ends it, and its queries, an hour after the last call.
type Session struct {
	remote  remote
	options options
	conn    *grpc.ClientConn
	spark   sql.SparkSession
	version string
	marker  string

	mu      sync.Mutex
	started map[*startLog]struct{} // listeners that want to hear of Start
}

// Option changes how [Connect] and the session it returns behave.
type Option func(*options)

type options struct {
	retryBudget  time.Duration
	pollInterval time.Duration
	startupWatch time.Duration
	tls          *tls.Config
	dial         []grpc.DialOption
}

// WithRetry sets for how long a call is repeated, at growing intervals, while
// the server cannot be reached. The default is 10 s; 0 means not at all. A call
// that may have had an effect before the connection broke, such as starting a
// query or an SQL command, is not repeated.
func WithRetry(budget time.Duration) Option {
	return func(o *options) { o.retryBudget = budget }
}

// WithPollInterval sets how often [Query.Progress] and [Manager.Listen] ask the
// server. The default is 500 ms.
func WithPollInterval(interval time.Duration) Option {
	return func(o *options) { o.pollInterval = interval }
}

// WithStartupWatch sets for how long [Writer.Start] and [Writer.ToTable] watch a
// new query: they return as soon as its first batch is done or it waits for
// data, with an error if it has died, and in any case after this time. The
// default is 5 s; 0 means one look.
func WithStartupWatch(d time.Duration) Option {
	return func(o *options) { o.startupWatch = d }
}

// WithTLSConfig sets the TLS configuration, and TLS itself even where the
// connection string has neither use_ssl nor token.
func WithTLSConfig(config *tls.Config) Option {
	return func(o *options) { o.tls = config }
}

// WithDialOptions adds gRPC options to the connection's.
func WithDialOptions(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// Connect opens a session on a Spark Connect server and asks the server for its
// version. The connection string is Spark's:
//
//	sc://host:port/;user_id=…;session_id=…;token=…;use_ssl=true;header=value
//
// The port defaults to 15002, user_id to the user of this process, session_id (a
// UUID) to a new one. A token turns TLS on. Other parameters are sent as headers
// with every call. Values are percent-encoded.
//
// The error is [ErrUnreachable] if the server does not answer within the retry
// budget, and lists all mistakes of the connection string at once.
func Connect(ctx context.Context, connection string, opts ...Option) (*Session, error) {
	o := options{
		retryBudget:  10 * time.Second,
		pollInterval: 500 * time.Millisecond,
		startupWatch: 5 * time.Second,
	}
	for _, opt := range opts {
		opt(&o)
	}
	r, err := parseRemote(connection)
	if o.pollInterval <= 0 {
		err = errors.Join(err, fmt.Errorf("poll interval %v is not positive", o.pollInterval))
	}
	if err != nil {
		return nil, err
	}
	s := &Session{remote: r, options: o, started: map[*startLog]struct{}{}}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("connecting to Spark at %s: %w", r.address, err)
	}
	return s, nil
}

func (s *Session) open(ctx context.Context) error {
	t := &transport{sessionID: s.remote.sessionID, budget: s.options.retryBudget}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(s.credentials()),
		grpc.WithChainUnaryInterceptor(t.unary),
		grpc.WithChainStreamInterceptor(t.stream),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize), grpc.MaxCallSendMsgSize(maxMessageSize)),
		// gRPC's own first pause between connection attempts is 1 s and grows to
		// two minutes: too long for a server that is just starting.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A server refuses pings more often than every 5 minutes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}),
	}
	if s.remote.token != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer(s.remote.token)))
	}
	var err error
	if s.conn, err = grpc.NewClient(s.remote.address, append(dial, s.options.dial...)...); err != nil {
		return err
	}
	if err = s.join(ctx); err != nil {
		s.Close()
	}
	return err
}

// join makes spark-connect-go's session and the first calls to the server.
func (s *Session) join(ctx context.Context) error {
	var err error
	if s.spark, err = sql.NewSessionBuilder().WithChannelBuilder(builder{s}).Build(ctx); err != nil {
		return err
	}
	if s.version, err = s.Version(ctx); err != nil {
		return err
	}
	if s.marker, err = s.readMarker(ctx); err != nil || s.marker != "" {
		return err
	}
	if err = s.writeMarker(ctx, uuid.NewString()); err != nil {
		return err
	}
	// Not the one just written: another process may join at the same moment.
	s.marker, err = s.readMarker(ctx)
	return err
}

func (s *Session) credentials() credentials.TransportCredentials {
	switch {
	case s.options.tls != nil:
		return credentials.NewTLS(s.options.tls)
	case s.remote.tls:
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	return insecure.NewCredentials()
}

// builder hands our connection to spark-connect-go.
type builder struct{ s *Session }

func (b builder) Build(context.Context) (*grpc.ClientConn, error) { return b.s.conn, nil }
func (b builder) User() string                                    { return b.s.remote.userID }
func (b builder) Headers() map[string]string                      { return maps.Clone(b.s.remote.headers) }
func (b builder) SessionId() string                               { return b.s.remote.sessionID } //nolint:revive,staticcheck // spark-connect-go's name
func (b builder) UserAgent() string                               { return b.s.userAgent() }

func (s *Session) userAgent() string {
	agent := s.remote.userAgent
	if agent == "" {
		agent = "_SPARK_CONNECT_GO_STREAM"
	}
	return fmt.Sprintf("%s os/%s go/%s", agent, runtime.GOOS, runtime.Version())
}

func (s *Session) caller() caller {
	return caller{
		SessionID:   s.remote.sessionID,
		UserContext: userContext{UserID: s.remote.userID},
		ClientType:  s.userAgent(),
	}
}

// outgoing adds the connection string's headers to a call.
func (s *Session) outgoing(ctx context.Context) context.Context {
	for name, value := range s.remote.headers {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	return ctx
}

// ID returns the session id, a UUID.
func (s *Session) ID() string { return s.remote.sessionID }

// UserID returns the user id. Together with [Session.ID] it identifies the
// session on the server.
func (s *Session) UserID() string { return s.remote.userID }

// Address returns the server's host:port.
func (s *Session) Address() string { return s.remote.address }

// SparkSession returns spark-connect-go's session on the same connection and
// the same server-side session, for everything that is not streaming: tables,
// configuration, batch queries. Its calls, and those of a DataFrame, are repeated
// as this package's are, but return spark-connect-go's own errors.
func (s *Session) SparkSession() sql.SparkSession { return s.spark }

// Close closes the connection. The session and its queries go on at the
// server: stop the queries first if they are to end, or connect again with the
// same user id and session id to find them. Calls that wait end with
// [net.ErrClosed].
func (s *Session) Close() {
	_ = s.conn.Close() // its only error is that it was closed before
}

// Version asks the server for its Spark version, such as 3.5.7. As it is the
// cheapest of calls, it also tells whether the server is there, and keeps the
// session alive.
func (s *Session) Version(ctx context.Context) (string, error) {
	request := struct {
		caller
		SparkVersion struct{} `json:"spark_version"`
	}{caller: s.caller()}
	var response struct {
		SparkVersion struct {
			Version string `json:"version"`
		} `json:"spark_version"`
	}
	if err := s.invoke(ctx, analyzePlanMethod, "AnalyzePlanRequest", request, "AnalyzePlanResponse", &response); err != nil {
		return "", fmt.Errorf("asking for Spark's version: %w", err)
	}
	return response.SparkVersion.Version, nil
}

// ReadStream returns a reader for a streaming source, as PySpark's
// spark.readStream does.
func (s *Session) ReadStream() *Reader { return &Reader{session: s} }

// WriteStream returns a writer that starts a query over df, as PySpark's
// df.writeStream does. The DataFrame is one of this session.
func (s *Session) WriteStream(df sql.DataFrame) *Writer { return &Writer{session: s, df: df} }

// Streams returns the manager of the session's queries, as PySpark's
// spark.streams does.
func (s *Session) Streams() *Manager { return &Manager{session: s} }

// Attach returns a handle to a query of this session that was started
// elsewhere. It asks the server nothing, so the name is empty; the handle's
// first call gives [ErrQueryNotFound] if there is no such query. To find an
// active query by its id, or by name among all, use [Manager.Get] and
// [Manager.Active].
func (s *Session) Attach(id, runID string) *Query {
	return &Query{session: s, id: id, runID: runID}
}

// SQL runs an SQL statement, as PySpark's spark.sql does: a command such as
// CREATE TABLE is executed at once, a query becomes a DataFrame. Other than
// spark-connect-go's Sql it also takes a query over streaming views.
func (s *Session) SQL(ctx context.Context, query string) (sql.DataFrame, error) {
	a, err := s.execute(ctx, plan{Command: &command{SQL: &sqlCommand{SQL: query}}})
	var rel json.RawMessage
	switch {
	case isStreamingQuery(err):
		// A 3.5 server refuses to look at it as a command, so it goes as a plan.
		if rel, err = json.Marshal(relation{SQL: &sqlQuery{Query: query}}); err == nil {
			err = s.analyze(ctx, rel)
		}
	case err == nil && a.SQL != nil:
		rel = a.SQL.Relation
	case err == nil:
		err = errors.New("the server's answer holds no relation")
	}
	if err != nil {
		return nil, fmt.Errorf("running SQL: %w", s.explainMissing(ctx, err))
	}
	return s.newFrame(ctx, rel)
}

// CreateTempView makes df, streaming or not, known to this session's SQL under
// the given name, and replaces a view that had it.
func (s *Session) CreateTempView(ctx context.Context, df sql.DataFrame, name string) error {
	if df == nil || name == "" {
		return errors.New("creating a temporary view: it needs a DataFrame and a name")
	}
	rel, err := relationOf(ctx, df)
	if err == nil {
		_, err = s.execute(ctx, plan{Command: &command{CreateView: &createView{Input: rel, Name: name, Replace: true}}})
	}
	if err != nil {
		return fmt.Errorf("creating temporary view %s: %w", name, s.explainMissing(ctx, err))
	}
	return nil
}

// DropTempView drops a temporary view of this session; one that is not there
// is no error. Queries that were started from it go on.
func (s *Session) DropTempView(ctx context.Context, name string) error {
	if _, err := s.execute(ctx, plan{Root: &relation{Catalog: &catalog{DropTempView: &viewName{Name: name}}}}); err != nil {
		return fmt.Errorf("dropping temporary view %s: %w", name, err)
	}
	return nil
}

// A 3.5 server does not say that a session has expired: it makes a new, empty
// one under the same id. So Connect leaves a mark in the session's
// configuration, and where something is missing, its absence tells why.
const markerKey = "spark.connect.client.go.session"

type configOperation struct {
	Get *configGet `json:"get_option,omitempty"`
	Set *configSet `json:"set,omitempty"`
}

type configGet struct {
	Keys []string `json:"keys"`
}

type configSet struct {
	Pairs []configPair `json:"pairs"`
}

type configPair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (s *Session) config(ctx context.Context, op configOperation) ([]configPair, error) {
	request := struct {
		caller
		Operation configOperation `json:"operation"`
	}{s.caller(), op}
	var response struct {
		Pairs []configPair `json:"pairs"`
	}
	err := s.invoke(ctx, configMethod, "ConfigRequest", request, "ConfigResponse", &response)
	return response.Pairs, err
}

func (s *Session) readMarker(ctx context.Context) (string, error) {
	pairs, err := s.config(ctx, configOperation{Get: &configGet{Keys: []string{markerKey}}})
	if err != nil || len(pairs) == 0 {
		return "", err
	}
	return pairs[0].Value, nil
}

func (s *Session) writeMarker(ctx context.Context, value string) error {
	_, err := s.config(ctx, configOperation{Set: &configSet{Pairs: []configPair{{Key: markerKey, Value: value}}}})
	return err
}

// checkAlive returns [ErrSessionExpired] if the session that Connect found or
// made is no longer the one on the server.
func (s *Session) checkAlive(ctx context.Context) error {
	marker, err := s.readMarker(ctx)
	if err != nil {
		return err
	}
	if marker != s.marker {
		return fmt.Errorf("%w: session %s of user %s is not on the server at %s any more, a new one is in its place",
			ErrSessionExpired, s.ID(), s.UserID(), s.Address())
	}
	return nil
}

// explainMissing adds [ErrSessionExpired] to an error about a query, view or
// table that the session does not have, if that is why.
func (s *Session) explainMissing(ctx context.Context, err error) error {
	var answer *ServerError
	if !errors.Is(err, ErrQueryNotFound) && (!errors.As(err, &answer) || answer.ErrorClass != "TABLE_OR_VIEW_NOT_FOUND") {
		return err
	}
	if expired := s.checkAlive(ctx); errors.Is(expired, ErrSessionExpired) {
		return fmt.Errorf("%w; %w", expired, err)
	}
	return err
}
