"""The web page: `limits` bounds a visitor, `service` answers, `page` shows, `server` serves."""
