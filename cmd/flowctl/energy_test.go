package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
)

// energy is examples/smart-energy.hcl, applied.
type energy struct {
	flowctl
	began      time.Time
	room       string            // URLs
	store      string            //
	collectors map[string]string // by site
}

// energyContexts makes what the images are built from, or skips the test.
func energyContexts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := osexec.Command("../../hack/energy", dir)
	cmd.Stderr = os.Stderr
	var exit *osexec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &exit) && exit.ExitCode() == 75:
		t.Skip("the packages for the images cannot be had; make energy says why")
	case err != nil:
		t.Fatal(err)
	}
	return dir
}

// newEnergy applies the example as it is, but for the frontend's port, and with
// twenty readings of each meter a second.
func newEnergy(t *testing.T) energy {
	t.Helper()
	t.Setenv("FLOWCTL_VAR_contexts", energyContexts(t))
	t.Setenv("FLOWCTL_VAR_every", "50ms")
	f := energy{flowctl: flowctl{t: t, dir: t.TempDir(), name: "smart-energy"}, began: time.Now()}
	text := string(must(os.ReadFile("../../examples/smart-energy.hcl")))
	if text = strings.Replace(text, `"127.0.0.1:8090"`, `"127.0.0.1:0"`, 1); !strings.Contains(text, `:0"`) {
		t.Fatal("the example's frontend listens elsewhere")
	}
	if err := os.WriteFile(filepath.Join(f.dir, "flow.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.run(0, "destroy", "-auto-approve")
		killLeftovers(t, f.dir)
	})
	f.must("apply", "-auto-approve")
	f.room = f.must("output", "-raw", "url")
	f.store = f.must("output", "-raw", "store")
	if err := json.Unmarshal([]byte(f.must("output", "-json", "collectors")), &f.collectors); err != nil || len(f.collectors) != 2 {
		t.Fatalf("collectors %v, %v", f.collectors, err)
	}
	return f
}

// get decodes a JSON answer.
func (f energy) get(url string, v any) error {
	c := http.Client{Timeout: 10 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// ask asks the store for one row of numbers; the time is left out.
func (f energy) ask(question string) ([]float64, error) {
	var answer struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]float64 }
		}
	}
	q := url.Values{"db": {"energy"}, "epoch": {"ms"}, "q": {question}}
	if err := f.get(f.store+"/query?"+q.Encode(), &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != 1 || len(answer.Results[0].Series) != 1 {
		return nil, fmt.Errorf("%s: %+v", question, answer)
	}
	return answer.Results[0].Series[0].Values[0][1:], nil
}

// taken is what a collector says of its readings.
type taken struct{ Last, Waiting, Lost float64 }

// until waits for something to hold, for at most a minute.
func (f energy) until(holds func() error) {
	f.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	err := holds()
	for n := 0; err != nil && n < 1200; n++ {
		<-tick.C
		err = holds()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// whole waits until the store has every reading that the collectors have taken up
// to now, each once, and fails if there is a gap that stays.
func (f energy) whole() {
	f.t.Helper()
	for site, collector := range f.collectors {
		var now taken
		f.until(func() error { return f.get(collector+"/status", &now) })
		if now.Lost > 0 || now.Last < 1 {
			f.t.Errorf("the collector of %s: %+v", site, now)
		}
		f.until(func() error {
			got, err := f.ask(fmt.Sprintf("SELECT count(distinct(seq)), count(seq), min(seq), max(seq) FROM power WHERE site = '%s' AND seq <= %.0f", site, now.Last))
			if err == nil && !slices.Equal(got, []float64{now.Last, now.Last, 1, now.Last}) {
				err = fmt.Errorf("%s took %.0f readings; the store has %v (numbers, readings, least, greatest)", site, now.Last, got)
			}
			return err
		})
		f.t.Logf("%s: all of %.0f readings are in the store", site, now.Last)
	}
}

// kill kills the containers of replicas.
func (f energy) kill(replicas ...string) {
	f.t.Helper()
	for _, name := range replicas {
		container := strings.TrimSpace(f.docker("ps", "-q", "--filter", "label=flowctl.flow="+f.name, "--filter", "label=flowctl.address="+name))
		f.docker("kill", container)
	}
}

// read waits until each collector has taken so many readings more, and, if there is
// no broker, has to keep them.
func (f energy) read(more float64, broker bool) {
	f.t.Helper()
	for site, collector := range f.collectors {
		var from, now taken
		f.until(func() error { return f.get(collector+"/status", &from) })
		f.until(func() error {
			err := f.get(collector+"/status", &now)
			if err == nil && (now.Last < from.Last+more || (now.Waiting < more) != broker) {
				err = fmt.Errorf("the collector of %s: %+v", site, now)
			}
			return err
		})
	}
}

// repair has flowctl see what was killed, and repair it.
func (f energy) repair(replicas ...string) {
	f.t.Helper()
	plan := f.must("plan")
	for _, name := range replicas {
		if want := name + " will be updated in place: its container ended with status 137"; !strings.Contains(plan, want) {
			f.t.Errorf("the plan does not say: %s\n%s", want, plan)
		}
	}
	f.must("apply", "-auto-approve")
}

func (f energy) docker(args ...string) string {
	f.t.Helper()
	out, err := osexec.Command("docker", args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// checkSeed checks that the store was seeded, between deploy and stitch.
func (f energy) checkSeed() {
	f.t.Helper()
	want := map[string]float64{
		"SELECT count(cents) FROM tariff": 24,
		fmt.Sprintf("SELECT count(watts) FROM power WHERE time < %dms", f.began.UnixMilli()): 2 * 3 * 288, // every 5 minutes of a day
	}
	for question, n := range want {
		if got, err := f.ask(question); err != nil || got[0] != n {
			f.t.Errorf("%s: %v, %v; wanted %v", question, got, err, n)
		}
	}
	var run view.JSONRunTasks
	if err := json.Unmarshal([]byte(f.must("runs", "show", "-json")), &run); err != nil {
		f.t.Fatal(err)
	}
	at := slices.IndexFunc(run.Items, func(i view.JSONRunTask) bool { return i.Address == "task.seed" })
	if at < 0 || len(run.Items) != 13 {
		f.t.Fatalf("the run's tasks are %+v", run.Items)
	}
	seed := run.Items[at].Attempts[0]
	for _, i := range run.Items {
		after := i.Phase == "stitch" || strings.HasPrefix(i.Address, "function.page") || strings.HasPrefix(i.Address, "function.writer")
		if after && i.Attempts[0].Started.Before(*seed.Ended) || i.Address == "function.store[0]" && i.Attempts[0].Ended.After(seed.Started) {
			f.t.Errorf("%s began at %v and ended at %v, the seed at %v and %v", i.Address, i.Attempts[0].Started, i.Attempts[0].Ended, seed.Started, seed.Ended)
		}
	}
}

var onBoard = regexp.MustCompile(`class="meter" id="([a-z-]+)"|reading (\d+)<`)

// checkPage checks that the control room shows live values of all meters: as a page,
// and newer ones in the stream.
func (f energy) checkPage() {
	f.t.Helper()
	resp, err := http.Get(f.room + "/events")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	seen, last := map[string]bool{}, ""
	lines := bufio.NewScanner(resp.Body)
	for n := 0; lines.Scan() && (len(seen) < 6*3 || n == 0); n++ {
		m := onBoard.FindStringSubmatch(lines.Text())
		switch {
		case m == nil:
		case m[1] != "":
			last = m[1]
		default:
			seen[last+" "+m[2]] = true // six meters, in three boards or more
		}
		if n > 10_000 {
			break
		}
	}
	if len(seen) < 6*3 {
		f.t.Errorf("the stream showed %v: %v", slices.Sorted(maps.Keys(seen)), lines.Err())
	}
	resp, err = http.Get(f.room)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	var live []string
	for _, m := range onBoard.FindAllStringSubmatch(string(page), -1) {
		live = append(live, m[1])
	}
	live = slices.DeleteFunc(live, func(id string) bool { return id == "" })
	if want := []string{"north-cooling", "north-heating", "north-servers", "south-cooling", "south-heating", "south-servers"}; !slices.Equal(live, want) {
		f.t.Errorf("the page shows %v live:\n%s", live, page)
	}
	if points := regexp.MustCompile(`class="day"[^>]*><polyline points="([^"]*)"`).FindSubmatch(page); points == nil || len(strings.Fields(string(points[1]))) < 100 {
		f.t.Errorf("the page shows no day of history:\n%s", page)
	}
}

// The example: readings flow from the meters to the page, whatever is killed and
// repaired on the way no stored value is missing, and destroy leaves nothing.
func TestDockerSmartEnergy(t *testing.T) {
	needEngine(t)
	f := newEnergy(t)
	f.must("plan", "-detailed-exitcode")
	f.checkSeed()
	f.whole()
	f.checkPage()

	const broker, store, writer, collector = "function.broker[0]", "function.store[0]", "function.writer[0]", `function.collector["north"][0]`
	f.kill(broker)
	f.read(20, false)
	f.repair(broker)
	f.whole()

	f.kill(store)
	f.read(20, true) // the broker alone has them
	f.kill(writer, broker)
	f.read(20, false)
	f.kill(collector)
	f.repair(broker, store, writer, collector)
	f.whole()
	f.checkPage()
	f.must("plan", "-detailed-exitcode")

	f.must("destroy", "-auto-approve")
	f.goneDocker(0)
}
