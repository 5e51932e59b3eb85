package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// figure is what one process took.
type figure struct {
	wall time.Duration
	cpu  time.Duration
	peak int64 // resident memory, bytes
	over bool  // it was ended, its time being over
}

func (f figure) String() string {
	if f.over {
		return fmt.Sprintf("> %.0f s", f.wall.Seconds())
	}
	return fmt.Sprintf("%7.2f s  %7.2f s cpu  %5d MB", f.wall.Seconds(), f.cpu.Seconds(), f.peak>>20)
}

// measure runs a program in a folder, for at most limit if that is not 0.
func measure(ctx context.Context, dir string, limit time.Duration, argv ...string) (figure, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "NO_COLOR=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stderr = &out
	begun := time.Now()
	err := cmd.Run()
	f := figure{wall: time.Since(begun)}
	if ctx.Err() == context.DeadlineExceeded {
		f.over = true
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, &out)
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	f.peak = use.Maxrss << 10
	return f, nil
}

// folder makes a folder that holds one file.
func (b *bench) folder(name, file, text string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
}
