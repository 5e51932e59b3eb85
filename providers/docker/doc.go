// Package docker runs functions as containers on Docker engines: the one on this
// machine (unix://), one behind TLS (tcp://), or one on a machine that ssh reaches
// (ssh://).
//
// A host names an engine and gets a bridge network of the flow's on it, on which
// containers find each other by the name of their function. A network is another
// bridge beside it, an image one that the engine has pulled, built or loaded, a
// replica one container. There are no machines to make here, so no vm blocks.
//
// Everything carries labels: flow, address, generation and operation. Its name
// derives from flow, address and generation. So nothing needs to be remembered to
// find it again, and creating it twice for one operation makes it once. The id of
// a host is the place of its engine, which replicas carry as their machine_id; it
// is all that is needed to reach it, with no secret in it.
//
// A container's port is published at a port of the host that does not change when
// the engine starts it again (see port.go): on 127.0.0.1 if the engine is on this
// machine, else on all addresses of the host.
package docker
