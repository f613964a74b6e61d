"""Other names for the demo's tools, and other words for what they and their parameters mean."""

from __future__ import annotations

NAMES = {
    "add_to_playlist": ("put_on_playlist", "playlist_add", "save_to_playlist"),
    "book_restaurant": ("reserve_table", "restaurant_booking", "make_reservation"),
    "get_weather": ("weather_forecast", "check_weather", "forecast"),
    "play_music": ("start_music", "music_player", "listen"),
    "rate_book": ("give_rating", "review_book", "score_book"),
    "find_work": ("search_work", "look_up_title", "lookup_work"),
    "find_screening": ("movie_times", "search_screenings", "screening_lookup"),
}
# what a tool or a parameter says of itself in the demo -> others that mean the same
DESCRIPTIONS = {
    "Add music to a playlist": (
        "Put a song or an album on a playlist",
        "Save music to a list of songs",
        "Add a track or artist to one of the user's playlists",
        "Extend a playlist",
    ),
    "Book a restaurant table": (
        "Reserve a table at a restaurant",
        "Make a reservation for dinner",
        "Find a place to eat and book it",
        "Book a table for a number of people",
    ),
    "Weather forecast": (
        "Get the weather in a city",
        "Tell what the weather will be like at a place",
        "Look up the forecast for a place and a day",
        "Current weather and forecast for a city",
    ),
    "Play music": (
        "Start a song, an album or a playlist",
        "Play songs by an artist",
        "Listen to music from an app",
        "Play a track",
    ),
    "Rate a book": (
        "Give a book a rating",
        "Give points or stars to a book",
        "Score a novel or an essay",
        "Save what the user thinks of a book",
    ),
    "Find a book, song, show or game": (
        "Search for a creative work by its title",
        "Look up a book, a song, a game, a film or a TV show",
        "Find a work by its title",
        "Search the catalogue of books, albums, games and series",
    ),
    "Find movie showings": (
        "When and where films are shown",
        "Look up what is on at the cinema",
        "Movie times at theatres nearby",
        "Find screenings of a film",
    ),
    "artist": ("who performs", "name of the artist", "singer or band"),
    "city": ("city name", "name of the city", "town or city"),
    "state": ("name of the state", "which state"),
    "country": ("name of the country", "which country"),
    "when": ("date or time", "day when it happens", "time of day"),
    "playlist name": ("name of the playlist", "which playlist"),
    "restaurant name": ("name of the restaurant", "which restaurant"),
    "number of people": ("how many people", "size of the party"),
    "song name": ("title of the song", "track to play"),
    "album name": ("title of the album", "which album"),
    "movie title": ("name of the movie", "which film"),
    "book title": ("title of the book", "which book"),
    "title": ("title of it", "name of the work"),
    "rating given": ("how many points", "the rating"),
}
