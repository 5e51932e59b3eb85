PRAGMA application_id = 1718382455;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES('bundle','{"path":"flow.hcl","dir":"/srv/flows","files":[{"name":"flow.hcl","bytes":"ZmxvdyAibG9vcCIge30KCnZtICJub2RlIiB7CiAgY3B1cyAgID0gMQogIG1lbW9yeSA9ICIyNTZNaUIiCn0KCmZ1bmN0aW9uICJ3ZWIiIHsKICBvbiAgICAgPSB2bS5ub2RlCiAgZXhlYyAgID0gWyJmbG93Y3RsLWRlbW8iLCAiZmliIl0KICBkcmFpbiAgPSAiMXMiCn0KCmZyb250ZW5kICJ3d3ciIHsKICBsaXN0ZW4gPSAiMTI3LjAuMC4xOjAiCiAgdG8gICAgID0gZnVuY3Rpb24ud2ViCn0KCnNjYWxpbmcgIndlYiIgewogIHRhcmdldCA9IGZ1bmN0aW9uLndlYgogIG1pbiAgICA9IDEKICBtYXggICAgPSAyCiAgbWV0cmljICJycHMiIHsgdGFyZ2V0ID0gMjAgfQp9Cg=="}],"var_files":null,"env":null,"args":null,"assets":null}');
INSERT INTO meta VALUES('held','');
INSERT INTO meta VALUES('lineage','07fa4d63-13f0-4c5a-a7b9-98e6bb06cdbe');
INSERT INTO meta VALUES('providers','[]');
INSERT INTO meta VALUES('serial','5');
INSERT INTO meta VALUES('spec','51690e3421dcbb577fdf7aa8fd1fefbff3d9fcc9f06285cd008865c1d513638e');
INSERT INTO meta VALUES('spec_path','flow.hcl');
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
	revision  INTEGER NOT NULL, kept INTEGER NOT NULL DEFAULT 0, -- the serial that it was last changed at
	PRIMARY KEY (address, gen)
) WITHOUT ROWID;
INSERT INTO object VALUES('backend.www/web[0]',1,'embedded','{"drain":"1s","frontend":"frontend.www","function":"function.web","protocol":"http","replica_id":"web-0","target":"127.0.0.1:22217"}','',NULL,'["function.web[0]","frontend.www"]','r1-s3',0,5,0);
INSERT INTO object VALUES('frontend.www',1,'embedded','{"address":"127.0.0.1:37061","balance":"p2c","id":"frontend.www","listen":"127.0.0.1:0","max_header_bytes":"64KiB","max_in_flight":0,"port":37061,"protocol":"http","route":[],"slow_start":"0s","to":"function.web","url":"http://127.0.0.1:37061"}','',NULL,'','r1-s1',0,1,0);
INSERT INTO object VALUES('function.web[0]',1,'local','{"address":"127.0.0.1:22217","cpu":0,"drain":"1s","exec":["flowctl-demo","fib"],"file":[],"host":"127.0.0.1","host_port":22217,"id":"web-0","machine":"vm.node[0]","machine_id":"vm-node-0","network_address":"127.0.0.1:22217","protocol":"http","url":"http://127.0.0.1:22217","volume":[]}','',NULL,'["vm.node[0]"]','r1-s2',0,3,0);
INSERT INTO object VALUES('scaling.web',1,'builtin','{"budget":[],"every":"1s","headroom":0,"max":2,"metric":[{"activate":0,"aggregate":"avg","burst":null,"endpoint":null,"missing":null,"name":"rps","offset":"0s","query":null,"source":null,"target":20,"utilisation":null,"value":null,"window":"30s"}],"min":1,"mode":"on","schedule":[],"step":[],"target":"function.web"}','',NULL,'["function.web"]','r1-s4',0,4,0);
INSERT INTO object VALUES('vm.node[0]',1,'local','{"address":"127.0.0.1","cpus":1,"file":[],"id":"vm-node-0","memory":"256MiB","slots":0}','',NULL,'','r1-s0',0,2,0);
CREATE TABLE output (
	name        TEXT PRIMARY KEY,
	value       TEXT    NOT NULL,
	type        TEXT    NOT NULL,
	sensitive   INTEGER NOT NULL,
	description TEXT    NOT NULL
) WITHOUT ROWID;
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
INSERT INTO run VALUES(1,'apply','succeeded',1795670510475610,1795670511243086,'ops','box',25847,'51690e3421dcbb577fdf7aa8fd1fefbff3d9fcc9f06285cd008865c1d513638e','{"Add":5,"Change":0,"Replace":0,"Destroy":0,"Run":0,"Suspend":0,"Resume":0,"Restart":0}',5,0);
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
INSERT INTO operation VALUES(1,0,'r1-s0','create','vm.node[0]',1,0,'local','','{"cpus":1,"file":[],"memory":"256MiB","slots":0}',3,1,1795670510477282,1795670510478544,1795670510792419,0,'',0);
INSERT INTO operation VALUES(1,1,'r1-s1','create','frontend.www',1,2,'embedded','','{"balance":"p2c","listen":"127.0.0.1:0","max_header_bytes":"64KiB","max_in_flight":0,"protocol":"http","route":[],"slow_start":"0s","to":"function.web"}',3,1,1795670510477285,1795670510478658,1795670510732273,0,'',0);
INSERT INTO operation VALUES(1,2,'r1-s2','create','function.web[0]',1,1,'local','["vm.node[0]"]','{"cpu":0,"drain":"1s","exec":["flowctl-demo","fib"],"file":[],"machine":"vm.node[0]","protocol":"http","volume":[]}',3,1,1795670510792438,1795670510794171,1795670511150389,0,'',0);
INSERT INTO operation VALUES(1,3,'r1-s3','create','backend.www/web[0]',1,2,'embedded','["function.web[0]","frontend.www"]','{"drain":"1s","frontend":"frontend.www","function":"function.web","protocol":"http"}',3,1,1795670511150429,1795670511153462,1795670511226431,0,'',0);
INSERT INTO operation VALUES(1,4,'r1-s4','create','scaling.web',1,3,'builtin','["function.web"]','{"budget":[],"every":"1s","headroom":0,"max":2,"metric":[{"activate":0,"aggregate":"avg","burst":null,"endpoint":null,"missing":null,"name":"rps","offset":"0s","query":null,"source":null,"target":20,"utilisation":null,"value":null,"window":"30s"}],"min":1,"mode":"on","schedule":[],"step":[],"target":"function.web"}',3,1,1795670511150432,1795670511153474,1795670511154760,0,'',0);
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
INSERT INTO lock VALUES('apply',1,'',1795670510454679);
INSERT INTO lock VALUES('controller',1,'',1795670511631337);
CREATE TABLE revision ( -- what functions ran, and what came of it
	function  TEXT    NOT NULL,
	number    INTEGER NOT NULL,
	digest    TEXT    NOT NULL,
	value     TEXT    NOT NULL, -- of a replica, as in object
	sensitive TEXT    NOT NULL,
	since     INTEGER NOT NULL,
	run       INTEGER NOT NULL,
	verdict   TEXT    NOT NULL,
	why       TEXT    NOT NULL,
	current   INTEGER NOT NULL,
	PRIMARY KEY (function, number)
) WITHOUT ROWID;
INSERT INTO revision VALUES('function.web',1,'dbfbe19a03cd6d5c','{"cpu":0,"drain":"1s","exec":["flowctl-demo","fib"],"file":[],"protocol":"http","volume":[]}','',1795670511247339,1,'good','',1);
CREATE TABLE decision ( -- evaluations of scaling blocks
	rule TEXT    NOT NULL,
	at   INTEGER NOT NULL,
	run  INTEGER NOT NULL, -- that carried it out; 0 if none
	body TEXT    NOT NULL,
	PRIMARY KEY (rule, at)
) WITHOUT ROWID;
INSERT INTO decision VALUES('web',1795670511678451,0,'{"rule":"web","target":"function.web","at":"2026-11-26T05:21:51.678451429Z","from":1,"ready":1,"drain_s":1,"want":1,"to":1,"act":false,"wishes":[{"name":"rps","value":0,"target":20,"want":0,"missing":true,"voted":false}],"limits":[],"blocked":"rps is missing","why":"nothing asks for a change; nothing shrinks: rps is missing"}');
CREATE TABLE memory ( -- what the next evaluation of a scaling block has to know
	rule TEXT PRIMARY KEY,
	body TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO memory VALUES('web','{"since":"2026-11-26T05:21:51.678451429Z","active":"2026-11-26T05:21:51.678451429Z","highs":[{"at":"2026-11-26T05:21:51.678451429Z","n":1}],"lows":[{"at":"2026-11-26T05:21:51.678451429Z","n":1}],"metrics":[{"name":"rps","last":"2026-11-26T05:21:51.678451429Z"}]}');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('run',1);
CREATE INDEX operation_open ON operation (open) WHERE open = 1;
CREATE INDEX decision_at ON decision (at);
COMMIT;
