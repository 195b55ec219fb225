package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/spark-connect-go/spark/sql/types"
)

// schemaJSON writes a schema in Spark's own JSON form, which the server reads
// where it also reads DDL.
func schemaJSON(schema *types.StructType) (string, error) {
	if schema == nil || len(schema.Fields) == 0 {
		return "", errors.New("it has no fields")
	}
	description, err := typeJSON(*schema)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(description)
	return string(text), err
}

// typeJSON gives a type as the value whose JSON Spark reads.
func typeJSON(t types.DataType) (any, error) {
	switch t := t.(type) {
	case types.BooleanType, types.ByteType, types.ShortType, types.IntegerType, types.LongType, types.FloatType,
		types.DoubleType, types.StringType, types.BinaryType, types.DateType, types.TimestampType:
		return strings.ToLower(t.TypeName()), nil
	case types.TimestampNtzType:
		return "timestamp_ntz", nil
	case types.DecimalType:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale), nil
	case types.ArrayType:
		element, err := typeJSON(t.ElementType)
		return map[string]any{"type": "array", "elementType": element, "containsNull": t.ContainsNull}, err
	case types.MapType:
		key, keyErr := typeJSON(t.KeyType)
		value, valueErr := typeJSON(t.ValueType)
		return map[string]any{"type": "map", "keyType": key, "valueType": value, "valueContainsNull": t.ValueContainsNull},
			errors.Join(keyErr, valueErr)
	case *types.StructType:
		return typeJSON(*t)
	case types.StructType:
		fields := make([]any, 0, len(t.Fields))
		var mistakes []error
		for _, f := range t.Fields {
			fieldType, err := typeJSON(f.DataType)
			if err != nil {
				mistakes = append(mistakes, fmt.Errorf("field %s: %w", f.Name, err))
			}
			fields = append(fields, map[string]any{"name": f.Name, "type": fieldType, "nullable": f.Nullable, "metadata": metadataJSON(f.Metadata)})
		}
		return map[string]any{"type": "struct", "fields": fields}, errors.Join(mistakes...)
	}
	return nil, fmt.Errorf("type %T cannot be sent", t)
}

func metadataJSON(metadata *string) any {
	if metadata == nil || *metadata == "" {
		return struct{}{}
	}
	return json.RawMessage(*metadata)
}
