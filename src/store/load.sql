SELECT version, expires_at, contents, tag1, tag2, tag3, tag4, tag5, tag6
FROM tower_oidc_records WHERE key = $1
