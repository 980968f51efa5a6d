# D4: repeating DO-VIEW-CHANGE alone would wait for a dead primary for ever.
cluster 5
given request c1 put x 1
given settle
given crash r0
given crash r1
given timeout r2 primary-silence
given timeout r3 primary-silence
given timeout r4 primary-silence
given settle
expect r2 view 1
expect not some primary
timeout r3 do-view-change-resend
given settle
expect not some primary
timeout r2 view-change-stuck
timeout r3 view-change-stuck
timeout r4 view-change-stuck
given settle
expect r2 primary
expect r2 view 2
given request c1 put y 2
given resend c1
given settle
expect reply c1 "ok"
