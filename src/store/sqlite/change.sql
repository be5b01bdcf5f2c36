UPDATE tower_oidc_records SET version = ?2,
    expires_at = ?3, contents = ?4, tag1 = ?5, tag2 = ?6, tag3 = ?7, tag4 = ?8, tag5 = ?9, tag6 = ?10
WHERE key = ?1 AND version = ?11
