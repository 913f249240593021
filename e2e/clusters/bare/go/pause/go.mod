module yolofleet.dev/bench/pause

go 1.26.0
