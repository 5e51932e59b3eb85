package view

import (
	"fmt"
	"strings"
)

// Unit is a unit file for systemd (systemd.service(5)) that runs a command line.
func Unit(flow string, line []string) string {
	quoted := make([]string, len(line))
	for i, w := range line {
		quoted[i] = unitWord(w)
	}
	return fmt.Sprintf(`# /etc/systemd/system/flowctl-%[1]s.service
[Unit]
Description=flowctl controller of %[1]s
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=%[2]s
Restart=always
RestartSec=2
KillMode=process
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
`, flow, strings.Join(quoted, " "))
}

// unitWord quotes a word as systemd reads it.
func unitWord(w string) string {
	w = strings.ReplaceAll(strings.ReplaceAll(w, "%", "%%"), "$", "$$")
	if strings.ContainsAny(w, " \t\"'\\;") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
	}
	return w
}
