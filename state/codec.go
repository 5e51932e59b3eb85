package state

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// encodeList writes a list as JSON, an empty one as "".
func encodeList[T any](list []T) string {
	if len(list) == 0 {
		return ""
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic("bug: " + err.Error())
	}
	return string(b)
}

func decodeList[T any](text string) ([]T, error) {
	if text == "" {
		return nil, nil
	}
	var list []T
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

// encodeAny writes a value of any type, with its type.
func encodeAny(v cty.Value) (value, typ string, err error) {
	t, err := ctyjson.MarshalType(v.Type())
	if err != nil {
		return "", "", err
	}
	b, err := ctyjson.Marshal(v, v.Type())
	return string(b), string(t), err
}

func decodeAny(value, typ string) (cty.Value, error) {
	t, err := ctyjson.UnmarshalType([]byte(typ))
	if err != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal([]byte(value), t)
}

// micros and fromMicros keep times as microseconds since 1970; 0 is no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func parseAddress(text string) (engine.Address, error) {
	a, err := engine.ParseAddress(text)
	if err != nil {
		return a, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return a, nil
}
