package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"regexp"
	"strconv"
	"time"
)

// reading is one value of one meter.
type reading struct {
	Site  string    `json:"site"`
	Meter string    `json:"meter"`
	Seq   uint64    `json:"seq"` // counts a site's readings, from 1
	At    time.Time `json:"at"`  // to the millisecond
	Watts float64   `json:"watts"`
}

// validName tells names that need no quotes in any of the languages that they get
// into: subjects of the broker, and the store's lines and queries.
var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`).MatchString

// id is the same whenever the reading is sent.
func (r reading) id() string { return r.Site + "-" + strconv.FormatUint(r.Seq, 10) }

func decodeReading(data []byte) (reading, error) {
	var r reading
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode a reading: %w", err)
	}
	if !validName(r.Site) || !validName(r.Meter) || r.Seq == 0 || r.Seq > math.MaxInt64 || r.At.Year() < 1970 || r.At.Year() > 2200 {
		return r, fmt.Errorf("decode a reading: %s is not whole", data)
	}
	return r, nil
}

// appendLine writes the reading as the store takes it in, with times in
// milliseconds: docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference.
func (r reading) appendLine(b []byte) []byte {
	return fmt.Appendf(b, "power,site=%s,meter=%s watts=%s,seq=%di %d\n",
		r.Site, r.Meter, strconv.FormatFloat(r.Watts, 'f', -1, 64), r.Seq, r.At.UnixMilli())
}

// load is what a meter shows at a moment: it has a size and a curve of the day after
// its name, and flickers by 4% from second to second.
func load(site, meter string, at time.Time) float64 {
	h := hash(site, meter)
	size := 400 + float64(h%1600)
	swing := 0.2 + float64(h>>16%30)/100
	peak := float64(h >> 32 % 24)
	hour := float64(at.UnixMilli()%86_400_000) / 3_600_000
	flicker := float64(hash(site, meter, strconv.FormatInt(at.Unix(), 10))%81)/1000 - 0.04
	watts := size * (1 + swing*math.Cos((hour-peak)/24*2*math.Pi) + flicker)
	return math.Round(watts*10) / 10
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	// Names that differ at their end only differ in few bits of the sum: spread them
	// (the finalizer of MurmurHash3).
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
