# D4: repeating DO-VIEW-CHANGE alone would wait for a dead primary for ever.
cluster 5
given request c1 put x 1
given settle
crash r0
crash r1
timeout r2 primary-silence
timeout r3 primary-silence
timeout r4 primary-silence
settle
expect r2 view 1
expect not some primary
timeout r3 do-view-change-resend
settle
expect not some primary
timeout r2 view-change-stuck
timeout r3 view-change-stuck
timeout r4 view-change-stuck
settle
expect r2 primary
expect r2 view 2
request c1 put y 2
resend c1
settle
expect reply c1 "ok"
