package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Logs implements providers.Logger.
func (d *Docker) Logs(ctx context.Context, o engine.Object, opts providers.LogOptions) iter.Seq2[providers.LogLine, error] {
	return func(yield func(providers.LogLine, error) bool) {
		name := d.name(o.Address, o.Gen)
		dm, c, err := d.find(ctx, name, o.Attr("machine_id"))
		if err != nil {
			yield(providers.LogLine{}, err)
			return
		}
		lo := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: opts.Follow, Tail: "all"}
		if opts.Tail >= 0 {
			lo.Tail = strconv.Itoa(opts.Tail)
		}
		if !opts.Since.IsZero() {
			lo.Since = opts.Since.Format(time.RFC3339Nano)
		}
		body, err := dm.ContainerLogs(ctx, c.ID, lo)
		if err != nil {
			yield(providers.LogLine{}, dm.fault("read the log of "+name, err))
			return
		}
		defer body.Close()
		for line, err := range logLines(body) {
			if ctx.Err() != nil || !yield(line, err) {
				return
			}
		}
	}
}

// logLines reads what an engine sends of a log: frames, each with a header of the
// stream's number, three zeros and the length in four bytes, and in it a time, a
// space and a line. A line longer than an engine's 16 KiB comes in several.
func logLines(r io.Reader) iter.Seq2[providers.LogLine, error] {
	return func(yield func(providers.LogLine, error) bool) {
		in := bufio.NewReader(r)
		var part [3]providers.LogLine // begun, by stream
		for {
			var head [8]byte
			if _, err := io.ReadFull(in, head[:]); err != nil {
				if !errors.Is(err, io.EOF) {
					yield(providers.LogLine{}, err)
				}
				return
			}
			text := make([]byte, binary.BigEndian.Uint32(head[4:]))
			if _, err := io.ReadFull(in, text); err != nil {
				yield(providers.LogLine{}, err)
				return
			}
			stream := min(int(head[0]), 2)
			at, said, _ := strings.Cut(string(text), " ")
			line := &part[stream]
			if line.At.IsZero() {
				line.At, _ = time.Parse(time.RFC3339Nano, at)
				if line.Stream = "out"; stream == 2 {
					line.Stream = "err"
				}
			}
			whole := strings.HasSuffix(said, "\n")
			line.Text += strings.TrimSuffix(said, "\n")
			if whole {
				if !yield(*line, nil) {
					return
				}
				*line = providers.LogLine{}
			}
		}
	}
}

// Exec implements providers.Execer: the command runs in the replica's container,
// with its environment, user and limits. Its program must be in the image.
func (d *Docker) Exec(ctx context.Context, o engine.Object, argv []string, streams providers.Streams) (int, error) {
	if o.Address.Kind != engine.KindFunction {
		return 0, fmt.Errorf("flowctl reaches the container engine of %s, not the machine: log in there", o.Address)
	}
	name := d.name(o.Address, o.Gen)
	dm, c, err := d.find(ctx, name, o.Attr("machine_id"))
	if err != nil {
		return 0, err
	}
	x, err := dm.ContainerExecCreate(ctx, c.ID, container.ExecOptions{
		Cmd: argv, AttachStdin: streams.In != nil, AttachStdout: true, AttachStderr: true, Tty: streams.Terminal != nil,
	})
	if err != nil {
		return 0, dm.fault(fmt.Sprintf("run %s in container %s", argv[0], name), err)
	}
	conn, err := dm.ContainerExecAttach(ctx, x.ID, container.ExecAttachOptions{Tty: streams.Terminal != nil})
	if err != nil {
		return 0, dm.fault(fmt.Sprintf("run %s in container %s", argv[0], name), err)
	}
	defer conn.Close()
	// The end of the context ends the streams; the command goes on, as the engine
	// offers no way to end it.
	defer context.AfterFunc(ctx, conn.Close)()
	if t := streams.Terminal; t != nil {
		restore, err := t.Raw()
		if err != nil {
			return 0, err
		}
		defer restore()
		// Without it, the command only takes the terminal for another size.
		dm.ContainerExecResize(ctx, x.ID, container.ResizeOptions{Width: uint(t.Width), Height: uint(t.Height)})
	}
	if streams.In != nil {
		// It is not waited for: a terminal gives nothing back until a key is pressed.
		go func() {
			io.Copy(conn.Conn, streams.In)
			conn.CloseWrite()
		}()
	}
	if streams.Terminal != nil { // its streams are one
		_, err = io.Copy(streams.Out, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(streams.Out, streams.Err, conn.Reader)
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, dm.fault(fmt.Sprintf("follow %s in container %s", argv[0], name), err)
	}
	end, err := dm.ContainerExecInspect(ctx, x.ID)
	return end.ExitCode, dm.fault(fmt.Sprintf("look how %s ended in container %s", argv[0], name), err)
}
