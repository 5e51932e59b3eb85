package view

import "testing"

// Why something failed may be long, and end with a log: the rest of a status stays in line.
func TestALongReasonMakesNoColumnWider(t *testing.T) {
	why := "it was not healthy within 30s (health.start_timeout); its log ends with:\n    one\n    two: no such file"
	var table Table
	table.Row("vm.node[0]", "running", "2 cpus, 1GiB", "127.0.0.1", "cpu 0.00")
	table.Row("function.web[0]", "failed", oneLine(why))
	table.Row("function.web[1]", "running", "vm.node[0]", "127.0.0.1:20319", "cpu 0.10")
	want := `vm.node[0]       running  2 cpus, 1GiB  127.0.0.1        cpu 0.00
function.web[0]  failed   it was not healthy within 30s (health.start_timeout); its log ends with: two: no such file
function.web[1]  running  vm.node[0]    127.0.0.1:20319  cpu 0.10
`
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
