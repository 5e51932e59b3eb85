package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/zclconf/go-cty/cty"
)

// Verdict is what is known of a revision.
type Verdict string

// The verdicts.
const (
	Good       Verdict = "good"
	Bad        Verdict = "bad"         // a replica did not become healthy, or a canary was judged so
	RolledBack Verdict = "rolled_back" // the operator went back from it
)

// Revision is one content of a function: what its replicas' declared values were.
// The same content again is the same revision.
type Revision struct {
	Function  Address
	Number    int // from 1
	Digest    string
	Value     cty.Value // of a replica; computed attributes are null
	Sensitive []string  // as in Object
	Since     time.Time // when it was last brought in, or found to be bad
	Run       int64     // that did so
	Verdict   Verdict
	Why       string // the verdict: "replica function.web[0] was not healthy …"
	Current   bool   // the function runs it
}

// Declared returns what a spec declares of a replica: its value without what the
// engine and providers fill in.
func Declared(replica cty.Value) cty.Value {
	attrs := replica.AsValueMap()
	for _, a := range ValueSchema(KindFunction).Attributes {
		if a.Computed && !a.Meta {
			attrs[a.Name] = cty.NullVal(a.Type)
		}
	}
	return cty.ObjectVal(attrs)
}

// DigestOf identifies the revision of a replica's value; "" while something that
// it declares is not known.
func DigestOf(replica cty.Value) string {
	v := Declared(replica)
	if !v.IsWhollyKnown() {
		return ""
	}
	text, err := MarshalValue(v)
	if err != nil {
		panic("bug: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// LastGood returns, of a function's revisions, the good one that it ran last
// besides the one with a given digest, or nil.
func LastGood(all []Revision, function Address, besides string) *Revision {
	var last *Revision
	for i := range all {
		r := &all[i]
		if r.Function != function || r.Digest == besides || r.Verdict != Good {
			continue
		}
		if last == nil || r.Current || !last.Current && r.Since.After(last.Since) {
			last = r
		}
	}
	return last
}

// Pin makes a function run a revision, whatever the spec says.
type Pin struct {
	Function  Address
	Value     cty.Value
	Sensitive []string
}

// Eval implements Config.
func (p Pin) Eval(Values) (cty.Value, Diagnostics) { return Mark(p.Value, p.Sensitive), nil }
