PRAGMA application_id = 1718382455;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempt ( -- those that failed; the last good one is in the operation
	run     INTEGER NOT NULL,
	step    INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	err     TEXT    NOT NULL,
	PRIMARY KEY (run, step, number)
) WITHOUT ROWID;
CREATE TABLE lock (
	name     TEXT PRIMARY KEY,
	epoch    INTEGER NOT NULL, -- grows with every taking; a token that fences writes
	holder   TEXT    NOT NULL, -- JSON of a Holder; '' if free
	acquired INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "lock" VALUES('apply',1,'',1795657003850220);
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('lineage','cd2c54c8-4edd-4ab1-8863-9eff6ec56341');
INSERT INTO "meta" VALUES('providers','[]');
INSERT INTO "meta" VALUES('serial','6');
INSERT INTO "meta" VALUES('spec_path','flow.hcl');
CREATE TABLE object (
	address   TEXT    NOT NULL,
	gen       INTEGER NOT NULL,
	provider  TEXT    NOT NULL,
	value     TEXT    NOT NULL, -- JSON of the kind's schema, without nulls
	sensitive TEXT    NOT NULL, -- JSON list of names, or ''
	private   BLOB,
	needs     TEXT    NOT NULL, -- JSON list of addresses, or ''
	operation TEXT    NOT NULL,
	lifecycle INTEGER NOT NULL,
	revision  INTEGER NOT NULL, -- the serial that it was last changed at
	PRIMARY KEY (address, gen)
) WITHOUT ROWID;
INSERT INTO "object" VALUES('backend.www/web[0]',1,'sim','{"drain":"10s","frontend":"frontend.www","function":"function.web","protocol":"http","replica_id":"sim:function.web[0]#1","target":"10.148.45.80:23664"}','',NULL,'["function.web[0]","frontend.www"]','r1-s4',0,5);
INSERT INTO "object" VALUES('backend.www/web[1]',1,'sim','{"drain":"10s","frontend":"frontend.www","function":"function.web","protocol":"http","replica_id":"sim:function.web[1]#1","target":"10.60.102.225:21681"}','',NULL,'["function.web[1]","frontend.www"]','r1-s5',0,6);
INSERT INTO "object" VALUES('frontend.www',1,'sim','{"address":"127.0.0.1:8080","balance":"p2c","id":"sim:frontend.www#1","listen":"127.0.0.1:8080","max_header_bytes":"64KiB","max_in_flight":0,"port":8080,"protocol":"http","route":[],"slow_start":"0s","to":"function.web","url":"http://127.0.0.1:8080"}','',NULL,'','r1-s1',0,1);
INSERT INTO "object" VALUES('function.web[0]',1,'sim','{"address":"10.148.45.80:23664","cpu":0,"drain":"10s","env":{"V":"1"},"exec":["web"],"file":[],"host":"10.148.45.80","host_port":23664,"id":"sim:function.web[0]#1","machine":"vm.node[0]","machine_id":"sim:vm.node[0]#1","protocol":"http","url":"http://10.148.45.80:23664","volume":[]}','',NULL,'["vm.node[0]"]','r1-s2',0,3);
INSERT INTO "object" VALUES('function.web[1]',1,'sim','{"address":"10.60.102.225:21681","cpu":0,"drain":"10s","env":{"V":"1"},"exec":["web"],"file":[],"host":"10.60.102.225","host_port":21681,"id":"sim:function.web[1]#1","machine":"vm.node[0]","machine_id":"sim:vm.node[0]#1","protocol":"http","url":"http://10.60.102.225:21681","volume":[]}','',NULL,'["vm.node[0]"]','r1-s3',0,4);
INSERT INTO "object" VALUES('vm.node[0]',1,'sim','{"address":"10.177.182.91","cpus":2,"id":"sim:vm.node[0]#1","memory":"1GiB","slots":0}','',NULL,'','r1-s0',0,2);
CREATE TABLE operation (
	run       INTEGER NOT NULL,
	step      INTEGER NOT NULL,
	operation TEXT    NOT NULL,
	op        TEXT    NOT NULL,
	address   TEXT    NOT NULL,
	gen       INTEGER NOT NULL,
	phase     INTEGER NOT NULL,
	provider  TEXT    NOT NULL,
	needs     TEXT    NOT NULL,
	planned   TEXT    NOT NULL,
	state     INTEGER NOT NULL,
	attempts  INTEGER NOT NULL,
	intended  INTEGER,
	started   INTEGER,
	ended     INTEGER,
	unchanged INTEGER NOT NULL,
	err       TEXT    NOT NULL,
	open      INTEGER NOT NULL,
	PRIMARY KEY (run, step)
) WITHOUT ROWID;
INSERT INTO "operation" VALUES(1,0,'r1-s0','create','vm.node[0]',1,0,'sim','','{"cpus":2,"memory":"1GiB","slots":0}',3,1,1795657003861392,1795657003865328,1795657003866155,0,'',0);
INSERT INTO "operation" VALUES(1,1,'r1-s1','create','frontend.www',1,2,'sim','','{"balance":"p2c","listen":"127.0.0.1:8080","max_header_bytes":"64KiB","max_in_flight":0,"protocol":"http","route":[],"slow_start":"0s","to":"function.web","url":"http://127.0.0.1:8080"}',3,1,1795657003861395,1795657003865344,1795657003865783,0,'',0);
INSERT INTO "operation" VALUES(1,2,'r1-s2','create','function.web[0]',1,1,'sim','["vm.node[0]"]','{"cpu":0,"drain":"10s","env":{"V":"1"},"exec":["web"],"file":[],"machine":"vm.node[0]","protocol":"http","volume":[]}',3,1,1795657003869750,1795657003873392,1795657003873688,0,'',0);
INSERT INTO "operation" VALUES(1,3,'r1-s3','create','function.web[1]',1,1,'sim','["vm.node[0]"]','{"cpu":0,"drain":"10s","env":{"V":"1"},"exec":["web"],"file":[],"machine":"vm.node[0]","protocol":"http","volume":[]}',3,1,1795657003869753,1795657003873413,1795657003874294,0,'',0);
INSERT INTO "operation" VALUES(1,4,'r1-s4','create','backend.www/web[0]',1,2,'sim','["function.web[0]","frontend.www"]','{"drain":"10s","frontend":"frontend.www","function":"function.web","protocol":"http"}',3,1,1795657003873708,1795657003874590,1795657003875056,0,'',0);
INSERT INTO "operation" VALUES(1,5,'r1-s5','create','backend.www/web[1]',1,2,'sim','["function.web[1]","frontend.www"]','{"drain":"10s","frontend":"frontend.www","function":"function.web","protocol":"http"}',3,1,1795657003874603,1795657003875336,1795657003875692,0,'',0);
CREATE TABLE output (
	name        TEXT PRIMARY KEY,
	value       TEXT    NOT NULL,
	type        TEXT    NOT NULL,
	sensitive   INTEGER NOT NULL,
	description TEXT    NOT NULL
) WITHOUT ROWID;
INSERT INTO "output" VALUES('url','"http://127.0.0.1:8080"','"string"',0,'');
CREATE TABLE run (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	command  TEXT    NOT NULL,
	status   TEXT    NOT NULL,
	started  INTEGER NOT NULL, -- microseconds since 1970
	ended    INTEGER,
	user     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	pid      INTEGER NOT NULL,
	spec     TEXT    NOT NULL,
	summary  TEXT    NOT NULL,
	steps    INTEGER NOT NULL,
	failures INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "run" VALUES(1,'apply','succeeded',1795657003854039,1795657003876502,'root','box',12788,'4f8ef039da269861c2feac75ea2778e105ab40bbc863cb82224cd690c5fd242e','{"Add":6,"Change":0,"Replace":0,"Destroy":0,"Run":0}',6,0);
CREATE INDEX operation_open ON operation (open) WHERE open = 1;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('run',1);
COMMIT;
