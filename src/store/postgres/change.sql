UPDATE tower_oidc_records SET version = nextval('tower_oidc_versions'),
    expires_at = $2, contents = $3, tag1 = $4, tag2 = $5, tag3 = $6, tag4 = $7, tag5 = $8, tag6 = $9
WHERE key = $1 AND version = $10 RETURNING version
