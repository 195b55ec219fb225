package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/spark-connect-go/spark/sql"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A DataFrame of spark-connect-go is a plan that the server has not seen yet,
// and there is no exported way to make one from a plan or to read its plan. But
// there is a method that takes a plan out of the server's answer (Sql) and one
// that puts it into a request (CreateTempView). So these two are called with a
// context that makes our transport answer in the server's place. Nothing is
// sent, and no temporary view has to be made, named and dropped.

// newFrame makes a DataFrame of a relation in protobuf's JSON form.
func (s *Session) newFrame(ctx context.Context, rel json.RawMessage) (sql.DataFrame, error) {
	var answered localCall = func(proto.Message) (proto.Message, error) {
		return encode("ExecutePlanResponse", map[string]any{
			"sql_command_result": map[string]any{"relation": rel},
		})
	}
	df, err := s.spark.Sql(context.WithValue(ctx, localCallKey{}, answered), "")
	if err != nil {
		return nil, fmt.Errorf("making a DataFrame: %w", err)
	}
	return df, nil
}

// relationOf gives the plan of a DataFrame in protobuf's JSON form.
func relationOf(ctx context.Context, df sql.DataFrame) (json.RawMessage, error) {
	var rel json.RawMessage
	var captured localCall = func(request proto.Message) (proto.Message, error) {
		m := request.ProtoReflect()
		for _, field := range []string{"plan", "command", "create_dataframe_view", "input"} {
			sub, ok := submessage(m, protoreflect.Name(field))
			if !ok {
				return nil, fmt.Errorf("looking for a DataFrame's plan: no %s in the request", field)
			}
			m = sub
		}
		var err error
		rel, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Interface())
		return nil, err
	}
	if err := df.CreateOrReplaceTempView(context.WithValue(ctx, localCallKey{}, captured), "spark_connect_go_"+uuid.NewString()); err != nil {
		return nil, fmt.Errorf("reading the DataFrame's plan: %w", err)
	}
	if rel == nil {
		return nil, errors.New("the DataFrame belongs to no session of this package")
	}
	return rel, nil
}
