PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE deployments (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	organization TEXT NOT NULL, 
	project TEXT NOT NULL, 
	stack TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	status TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	modified BIGINT NOT NULL, 
	started BIGINT NOT NULL, 
	last_updated BIGINT NOT NULL, 
	initiator TEXT NOT NULL, 
	marker TEXT, 
	cancel_asked BOOLEAN NOT NULL, 
	shown TEXT NOT NULL, 
	steps TEXT NOT NULL, 
	ending_kind TEXT NOT NULL, 
	ending_message TEXT NOT NULL, 
	request BLOB NOT NULL, 
	UNIQUE (organization, project, stack, version), 
	UNIQUE (organization, project, stack, marker), 
	UNIQUE (id)
);
INSERT INTO "deployments" VALUES(1,'d1','acme','web','prod',1,'refresh','succeeded',1793534460123456,1793534400123456,1793534400123456,1793534400123456,'cli','RECONCILER_RUN_a',0,'{"user": ["Ann", "ann", "", "ann@example.com"], "source": ["https://example.com/r.git", "", "", "v1", "infra"], "environment": [["A", "\u00fc", false], ["S", "", true]]}','[["Get source", "succeeded", 1793534400123456, 1793534400123456], ["Pulumi operation", "succeeded", 1793534400123456, 1793534400123456]]','','',X'72');
INSERT INTO "deployments" VALUES(2,'d2','acme','web','prod',2,'refresh','running',1793534520123456,1793534400123456,1793534400123456,1793534400123456,'cli',NULL,0,'{"user": ["Ann", "ann", "", "ann@example.com"], "source": ["https://example.com/r.git", "", "", "v1", "infra"], "environment": [["A", "\u00fc", false], ["S", "", true]]}','[["Get source", "running", 1793534400123456, 1793534400123456], ["Pulumi operation", "not-started", -62135596800000000, -62135596800000000]]','','',X'72');
INSERT INTO "deployments" VALUES(3,'d3','acme','db','prod',1,'refresh','not-started',1793534460123456,1793534400123456,-62135596800000000,-62135596800000000,'cli',NULL,0,'{"user": ["Ann", "ann", "", "ann@example.com"], "source": ["https://example.com/r.git", "", "", "v1", "infra"], "environment": [["A", "\u00fc", false], ["S", "", true]]}','[["Get source", "not-started", -62135596800000000, -62135596800000000], ["Pulumi operation", "not-started", -62135596800000000, -62135596800000000]]','','',X'72');
CREATE TABLE facts (
	name TEXT NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('passphrase/acme',X'7365616C6564');
CREATE TABLE stacks (
	organization TEXT NOT NULL, 
	project TEXT NOT NULL, 
	stack TEXT NOT NULL, 
	latest_version INTEGER NOT NULL, 
	initialized BOOLEAN NOT NULL, 
	PRIMARY KEY (organization, project, stack)
);
INSERT INTO "stacks" VALUES('acme','web','prod',2,1);
INSERT INTO "stacks" VALUES('acme','db','prod',1,0);
CREATE TABLE tokens (
	hash TEXT NOT NULL, 
	organization TEXT NOT NULL, 
	role TEXT NOT NULL, 
	user TEXT NOT NULL, 
	email TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	expires BIGINT, 
	last_used BIGINT, 
	revoked BOOLEAN NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "tokens" VALUES('hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh','acme','admin','ann','ann@example.com',1793534400123456,NULL,NULL,0);
CREATE INDEX deployments_by_status ON deployments (status, sequence);
CREATE INDEX deployments_by_organization ON deployments (organization, sequence);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deployments',3);
COMMIT;
