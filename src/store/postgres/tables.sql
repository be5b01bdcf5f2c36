CREATE SEQUENCE IF NOT EXISTS tower_oidc_versions;
CREATE TABLE IF NOT EXISTS tower_oidc_records (
    key bytea PRIMARY KEY,
    version bigint NOT NULL,
    expires_at bigint NOT NULL,
    tag1 bytea, tag2 bytea, tag3 bytea, tag4 bytea, tag5 bytea, tag6 bytea,
    contents bytea NOT NULL
);
-- What is sealed cannot be compressed.
ALTER TABLE tower_oidc_records ALTER COLUMN contents SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS tower_oidc_state (
    id integer PRIMARY KEY CHECK (id = 1),
    schema_version integer NOT NULL
);
INSERT INTO tower_oidc_state VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET schema_version = 1;
