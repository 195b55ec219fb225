package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/spark-connect-go/spark/sql"
	"github.com/apache/spark-connect-go/spark/sql/types"
)

// Reader describes a streaming source, as PySpark's DataStreamReader does. Its
// methods change it and return it, and mistakes are reported by the method that
// loads. A Reader is for one goroutine.
type Reader struct {
	session *Session
	settings
	schema string
}

// Format names the source: kafka, rate, json, delta or another one that the
// server knows.
func (r *Reader) Format(name string) *Reader {
	r.format = name
	return r
}

// Option sets an option of the source. The value is a string, a bool or a
// number.
func (r *Reader) Option(key string, value any) *Reader {
	r.setOption(key, value)
	return r
}

// Options sets several options of the source.
func (r *Reader) Options(options map[string]string) *Reader {
	r.setOptions(options)
	return r
}

// Schema sets the schema as DDL, such as "id BIGINT, at TIMESTAMP". File
// sources need one, unless spark.sql.streaming.schemaInference is set.
func (r *Reader) Schema(ddl string) *Reader {
	if ddl == "" {
		r.mistake("the schema is empty")
	}
	r.schema = ddl
	return r
}

// StructType sets the schema as spark-connect-go's type.
func (r *Reader) StructType(schema *types.StructType) *Reader {
	text, err := schemaJSON(schema)
	if err != nil {
		r.mistake("schema: %w", err)
	}
	r.schema = text
	return r
}

// Load returns a streaming DataFrame of the source, with the path if one is
// given. The server resolves source and schema, so that mistakes in the options
// show here, but reads no data yet.
func (r *Reader) Load(ctx context.Context, path ...string) (sql.DataFrame, error) {
	if r.format == "" {
		r.mistake("no format: name the source with Format")
	}
	source := dataSource{Format: r.format, Schema: r.schema, Options: r.options}
	if p := r.onePath(path); p != "" {
		source.Paths = []string{p}
	}
	return r.load(ctx, r.format, read{DataSource: &source, IsStreaming: true})
}

// Table returns a streaming DataFrame of a table of the server's catalogue, or
// of a temporary view that is itself streaming.
func (r *Reader) Table(ctx context.Context, name string) (sql.DataFrame, error) {
	if name == "" {
		r.mistake("the table has no name")
	}
	if r.schema != "" {
		r.mistake("table %s brings its own schema", name)
	}
	return r.load(ctx, "table "+name, read{NamedTable: &namedTable{Name: name, Options: r.options}, IsStreaming: true})
}

// JSON returns a streaming DataFrame of the JSON files, one document a line,
// that appear in the directory path.
func (r *Reader) JSON(ctx context.Context, path string) (sql.DataFrame, error) {
	return r.Format("json").Load(ctx, path)
}

// CSV returns a streaming DataFrame of the CSV files that appear in the
// directory path.
func (r *Reader) CSV(ctx context.Context, path string) (sql.DataFrame, error) {
	return r.Format("csv").Load(ctx, path)
}

// Text returns a streaming DataFrame of the text files that appear in the
// directory path: one column, value, with one line a row.
func (r *Reader) Text(ctx context.Context, path string) (sql.DataFrame, error) {
	return r.Format("text").Load(ctx, path)
}

// Parquet returns a streaming DataFrame of the Parquet files that appear in the
// directory path.
func (r *Reader) Parquet(ctx context.Context, path string) (sql.DataFrame, error) {
	return r.Format("parquet").Load(ctx, path)
}

// ORC returns a streaming DataFrame of the ORC files that appear in the
// directory path.
func (r *Reader) ORC(ctx context.Context, path string) (sql.DataFrame, error) {
	return r.Format("orc").Load(ctx, path)
}

func (r *Reader) load(ctx context.Context, what string, source read) (sql.DataFrame, error) {
	if what == "" {
		what = "a stream"
	}
	if err := errors.Join(r.mistakes...); err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	rel, err := json.Marshal(relation{Read: &source})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	if err := r.session.analyze(ctx, rel); err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, r.session.explainMissing(ctx, err))
	}
	df, err := r.session.newFrame(ctx, rel)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return df, nil
}
