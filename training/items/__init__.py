"""Cold items: what methods for them are given, and the methods. Users are warm here."""
