package docker

import "testing"

// Who asks for some containers and then for the others finds the streams of both; one
// that nobody asks for any more ends.
func TestStreamsStayForWhoAsksInTurns(t *testing.T) {
	m := meter{streams: map[string]*stream{}}
	ended := map[string]bool{}
	for _, id := range []string{"new", "old"} {
		m.streams[id] = &stream{cancel: func() { ended[id] = true }}
	}
	for range 5 {
		m.retain(map[string]bool{"new": true})
		m.retain(map[string]bool{"old": true})
	}
	if len(ended) > 0 {
		t.Errorf("ended although they are asked for: %v", ended)
	}
	m.retain(map[string]bool{"new": true})
	m.retain(map[string]bool{"new": true})
	if !ended["old"] || ended["new"] || len(m.streams) != 1 {
		t.Errorf("ended %v, want old alone", ended)
	}
}
