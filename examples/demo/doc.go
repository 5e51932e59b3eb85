// Flowctl-demo is the two-tier service that flowctl's examples and tests
// deploy: a web tier that asks an api tier for Fibonacci numbers.
//
//	flowctl-demo web    HTML at /, JSON at /api?n=…; calls $API_URL/fib/{n}
//	flowctl-demo fib    (or api) burns CPU: /fib/{n}, /burn?ms=…, /sleep/{duration}
//	flowctl-demo worker takes jobs from a queue of a NATS server, $BROKER
//	flowctl-demo submit puts some into it: -jobs=20 -job=5s
//
// A worker takes one job at a time, and after SIGTERM no other; one that it did not
// finish is done by another. Web and fib have /events (an SSE stream), /healthz, /readyz and /metrics, speak
// HTTP/1.1 and unencrypted HTTP/2, and name themselves in the header X-Replica.
// Every flag is also an environment variable: -slow-start is SLOW_START.
//
// Invariants:
//   - /healthz is 503 while starting (-slow-start) and from SIGTERM on; work
//     that arrives while starting is refused with 503.
//   - After SIGTERM the listener stays open until the requests that were there
//     are answered (and -linger is over), so that nothing is refused in
//     between; then it closes, the rest is answered, and the exit is 0. -drain
//     bounds all of it. A second signal ends the program at once.
//   - /healthz, /readyz and /metrics are in no metric: what is counted is work.
//
// For tests of what flowctl does about sick replicas: -fail-rate 0.1 answers
// every tenth request with 500, -crash-after 30s (or 100, in requests) exits
// with 3 and no farewell, -leak 512 keeps 512 KiB of each request for ever.
//
// The program needs no file and no C library, so it can be alone in an image.
package main
