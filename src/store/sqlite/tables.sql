CREATE TABLE IF NOT EXISTS tower_oidc_records (
    key BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    tag1 BLOB, tag2 BLOB, tag3 BLOB, tag4 BLOB, tag5 BLOB, tag6 BLOB,
    contents BLOB NOT NULL
) STRICT;
-- One row that outlives every record: a version is never given twice.
CREATE TABLE IF NOT EXISTS tower_oidc_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    last_version INTEGER NOT NULL,
    last_writer INTEGER NOT NULL,
    last_written_at INTEGER NOT NULL,
    previous_written_at INTEGER NOT NULL
) STRICT;
INSERT INTO tower_oidc_state VALUES (1, 1, 0, 0, 0, 0) ON CONFLICT (id) DO UPDATE SET schema_version = 1;
