package lb

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// stickyValue is the cookie that means a backend. It is keyed, so that a client
// can neither read a backend's name from it nor make one up, and it is the same
// after a restart.
func stickyValue(key []byte, frontend, backendID string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(frontend + "\x00" + backendID))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:12])
}

// stick tells the client to come back to x.b, unless it has a session elsewhere
// that is in service and was only busy.
func (x *exchange) stick(res *http.Response) {
	if x.sticky == x.b.cookie || x.f.pool.state.Load().cookies[x.sticky] != nil {
		return
	}
	c := &http.Cookie{Name: x.cfg.Sticky.Cookie, Value: x.b.cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if ttl := time.Duration(x.cfg.Sticky.TTL); ttl > 0 {
		c.MaxAge = max(1, int(ttl/time.Second))
	}
	res.Header.Add("Set-Cookie", c.String())
}
