package view

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/zclconf/go-cty/cty"
)

// Revisions renders the revisions of a function, the newest first, with what each
// changed from the one before.
func Revisions(list []engine.Revision, s Style) string {
	var t Table
	t.Row("REVISION", "VERDICT", "SINCE", "RUN", "CHANGED", "")
	for i, r := range list {
		mark := ""
		if r.Current {
			mark = " (current)"
		}
		verdict := s.bad(string(r.Verdict))
		if r.Verdict == engine.Good {
			verdict = s.good(string(r.Verdict))
		}
		changed := ""
		if i+1 < len(list) {
			changed = strings.Join(differences(list[i+1], r), ", ")
		}
		t.Row(fmt.Sprint(r.Number)+mark, verdict, r.Since.Local().Format("2006-01-02 15:04:05"), fmt.Sprint(r.Run), changed, r.Why)
	}
	return t.String()
}

// differences names the attributes in which two revisions differ.
func differences(before, after engine.Revision) []string {
	var names []string
	for _, a := range engine.ValueSchema(engine.KindFunction).Attributes {
		if a.Meta || a.Computed {
			continue
		}
		if x, y := before.Value.GetAttr(a.Name), after.Value.GetAttr(a.Name); !x.RawEquals(y) {
			names = append(names, a.Name)
		}
	}
	return names
}

// JSONRevision is one revision of a function.
type JSONRevision struct {
	Number    int             `json:"revision"`
	Digest    string          `json:"digest"`
	Verdict   string          `json:"verdict"`
	Why       string          `json:"why,omitempty"`
	Current   bool            `json:"current"`
	Since     time.Time       `json:"since"`
	Run       int64           `json:"run"`
	Value     json.RawMessage `json:"value"`
	Sensitive []string        `json:"sensitive,omitempty"` // attributes left out of value
}

// JSONRevisions are the revisions of one function, the newest first.
type JSONRevisions struct {
	FormatVersion string         `json:"format_version"`
	Function      string         `json:"function"`
	Revisions     []JSONRevision `json:"revisions"`
}

// RevisionsJSON converts revisions.
func RevisionsJSON(list []engine.Revision) JSONRevisions {
	j := JSONRevisions{FormatVersion: FormatVersion, Revisions: []JSONRevision{}}
	for _, r := range list {
		j.Function = r.Function.String()
		value := json.RawMessage("null")
		if r.Value != cty.NilVal {
			value = ObjectJSON(r.Value, r.Sensitive)
		}
		j.Revisions = append(j.Revisions, JSONRevision{
			Number: r.Number, Digest: r.Digest, Verdict: string(r.Verdict), Why: r.Why, Current: r.Current,
			Since: r.Since.UTC(), Run: r.Run, Value: value, Sensitive: r.Sensitive,
		})
	}
	return j
}
