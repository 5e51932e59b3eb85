// Smart-energy is the program of the smart-energy example: it measures what the
// meters of a site use, carries it to a time-series store, and shows it.
//
//	smart-energy collect   reads a site's meters and hands the readings to the broker
//	smart-energy write     takes them from the broker and puts them into the store
//	smart-energy page      the control room: live values and their history
//	smart-energy seed      makes the database, with the tariff and a day of history
//
// The broker is nats-server with JetStream, the store is InfluxDB 1.x. The meters
// are simulated: what one shows follows from its name and the moment.
//
// Invariants:
//   - A reading that was taken is in the store in the end, whichever of the processes
//     is killed, in whatever order: a collector keeps it in a file until the broker has
//     it, the broker keeps it until the writer has acknowledged it, and the writer
//     acknowledges it when the store has it.
//   - A reading may arrive twice and is stored once: site, meter and time are its name.
//   - A site's readings are numbered without a gap, across restarts. What a collector
//     had to drop because the broker was away for too long is counted.
//
// Each but seed answers /healthz and /status (JSON) on $HOST:$PORT. Every flag is
// also an environment variable: -site is SITE.
package main
