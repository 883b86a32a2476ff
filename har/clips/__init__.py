"""From video files to stored frames, and the folds that they belong to; no Keras here."""
