# Paper, section 4.1: backups ignore requests; here they name the primary.
cluster 3
abdicate r0
settle
expect r1 primary
request c1 put x 1
resend c1
settle
expect reply c1 "ok"
