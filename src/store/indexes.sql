CREATE INDEX IF NOT EXISTS tower_oidc_records_expires_at ON tower_oidc_records (expires_at);
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag1 ON tower_oidc_records (tag1) WHERE tag1 IS NOT NULL;
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag2 ON tower_oidc_records (tag2) WHERE tag2 IS NOT NULL;
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag3 ON tower_oidc_records (tag3) WHERE tag3 IS NOT NULL;
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag4 ON tower_oidc_records (tag4) WHERE tag4 IS NOT NULL;
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag5 ON tower_oidc_records (tag5) WHERE tag5 IS NOT NULL;
CREATE INDEX IF NOT EXISTS tower_oidc_records_tag6 ON tower_oidc_records (tag6) WHERE tag6 IS NOT NULL;
