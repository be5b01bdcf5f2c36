INSERT INTO tower_oidc_records (key, version, expires_at, contents, tag1, tag2, tag3, tag4, tag5, tag6)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (key) DO NOTHING
