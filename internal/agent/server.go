package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"time"
)

// maxBody is the largest request: a ReplicaSpec with a large environment.
const maxBody = 4 << 20

// handler serves the agent's API. shutdown begins the end.
func (s *supervisor) handler(shutdown func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/healthz", func(w http.ResponseWriter, r *http.Request) {
		ok, err := ask(r.Context(), s, func(reply func(string, error)) { reply("ok", nil) })
		respond(w, ok, err)
	})
	mux.HandleFunc("GET /v1/machine", func(w http.ResponseWriter, r *http.Request) {
		m, err := ask(r.Context(), s, func(reply func(MachineStatus, error)) { reply(s.machineStatus(), nil) })
		respond(w, m, err)
	})
	mux.HandleFunc("PUT /v1/machine", s.putMachine)
	mux.HandleFunc("GET /v1/replicas", s.getReplicas)
	mux.HandleFunc("PUT /v1/replicas/{name}", s.putReplica)
	mux.HandleFunc("GET /v1/replicas/{name}", s.byName(func(name string, reply func(Status, error)) {
		if r := s.replicas[name]; r != nil {
			reply(s.status(r), nil)
			return
		}
		reply(Status{}, notFound(name))
	}))
	mux.HandleFunc("DELETE /v1/replicas/{name}", s.byName(func(name string, reply func(Status, error)) {
		s.remove(name, func(err error) { reply(Status{}, err) })
	}))
	mux.HandleFunc("POST /v1/replicas/{name}/restart", s.byName(s.restart))
	mux.HandleFunc("POST /v1/replicas/{name}/ensure", s.byName(s.ensure))
	mux.HandleFunc("POST /v1/replicas/{name}/signal", func(w http.ResponseWriter, r *http.Request) {
		s.byName(func(name string, reply func(Status, error)) { s.signal(name, r.FormValue("signal"), reply) })(w, r)
	})
	mux.HandleFunc("POST /v1/replicas/{name}/suspend", s.byName(s.suspend))
	mux.HandleFunc("POST /v1/replicas/{name}/resume", s.byName(s.resume))
	mux.HandleFunc("GET /v1/replicas/{name}/logs", s.getLogs)
	mux.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, "shutting down", nil)
		shutdown()
	})
	return mux
}

func respond(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if err != nil {
		code, v = problemOf(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v) // a client that went away is no concern
}

func decode(r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody)).Decode(v)
	if err != nil {
		return invalidf("request is not what the agent understands: %v", err)
	}
	return nil
}

// byName serves a request about one replica; f runs in the loop.
func (s *supervisor) byName(f func(name string, reply func(Status, error))) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if !safeName.MatchString(name) {
			respond(w, nil, notFound(name))
			return
		}
		st, err := ask(r.Context(), s, func(reply func(Status, error)) { f(name, reply) })
		respond(w, st, err)
	}
}

func (s *supervisor) putMachine(w http.ResponseWriter, r *http.Request) {
	var m Machine
	err := decode(r, &m)
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		respond(w, nil, err)
		return
	}
	st, err := ask(r.Context(), s, func(reply func(MachineStatus, error)) { s.setMachine(m, reply) })
	respond(w, st, err)
}

func (s *supervisor) getReplicas(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(r.FormValue("after"), 10, 64)
	if r.FormValue("after") != "" && err != nil {
		respond(w, nil, invalidf("after=%q is not a revision", r.FormValue("after")))
		return
	}
	snap, err := s.changes(r.Context(), after)
	respond(w, snap, err)
}

func (s *supervisor) putReplica(w http.ResponseWriter, r *http.Request) {
	var spec ReplicaSpec
	err := decode(r, &spec)
	spec = spec.withDefaults()
	if err == nil && spec.Name != r.PathValue("name") {
		err = invalidf("replica %q is put under the name %q", spec.Name, r.PathValue("name"))
	}
	if err == nil {
		err = spec.validate()
	}
	if err != nil {
		respond(w, nil, err)
		return
	}
	st, err := ask(r.Context(), s, func(reply func(Status, error)) { s.put(spec, reply) })
	respond(w, st, err)
}

// getLogs streams records as the log file holds them: bytes that are not UTF-8
// would not survive JSON.
func (s *supervisor) getLogs(w http.ResponseWriter, r *http.Request) {
	o, err := logOptions(r)
	if err != nil {
		respond(w, nil, err)
		return
	}
	reader, err := s.openLogReader(r, o)
	if err != nil {
		respond(w, nil, err)
		return
	}
	defer reader.close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", logErrorTrailer)
	flush := http.NewResponseController(w)
	flush.Flush()
	buf := make([]byte, 64<<10)
	for {
		n, more, err := reader.read(buf)
		if err == nil && n > 0 {
			_, err = w.Write(buf[:n])
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && n == 0 && !o.Follow:
			return
		case err != nil:
			w.Header().Set(logErrorTrailer, err.Error())
			return
		case n > 0:
			continue
		}
		flush.Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

// logErrorTrailer carries what ended a stream of records too early.
const logErrorTrailer = "Flowctl-Log-Error"

func logOptions(r *http.Request) (o LogOptions, err error) {
	if v := r.FormValue("tail"); v != "" {
		if o.Tail, err = strconv.Atoi(v); err != nil {
			return o, invalidf("tail=%q is not a number of lines", v)
		}
	}
	if v := r.FormValue("since"); v != "" {
		if o.Since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return o, invalidf("since=%q is not a time: %v", v, err)
		}
	}
	o.Follow = r.FormValue("follow") == "true"
	return o, nil
}

// openLogReader opens the log of a replica, or what a dead agent has left of
// one.
func (s *supervisor) openLogReader(r *http.Request, o LogOptions) (*logReader, error) {
	name := r.PathValue("name")
	if !safeName.MatchString(name) {
		return nil, notFound(name)
	}
	log, err := ask(r.Context(), s, func(reply func(*logFile, error)) {
		switch r := s.replicas[name]; {
		case r == nil:
			reply(nil, notFound(name))
		case r.res == nil || r.res.log == nil:
			reply(nil, &fault{ErrBusy, fmt.Sprintf("replica %s is being made; try again", name)})
		default:
			reply(r.res.log, nil)
		}
	})
	if errors.Is(err, ErrNotFound) && exists(replicaDir(s.dir, name)) {
		log, err = oldLog(replicaDir(s.dir, name)), nil
	}
	if err != nil {
		return nil, err
	}
	reader, err := log.reader(o.Tail, o.Since)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(name) // removed this moment
	}
	return reader, err
}
