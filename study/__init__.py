"""What a study is: declared, launched, recorded, judged, shown."""
