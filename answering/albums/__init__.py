"""People's own folders of pictures, asked like a run's gallery; without TensorFlow.

    album = open_album(run, "photos")                    # describes what is new or changed first
    answers = nearest_images(album, encoder.encode(["a dog"]), k=10)     # of answering.search
    pictures = GalleryPictures(run, album)
    verdict = Judge(run, Gallery(run), tell).judge(asked, answers)       # None: not judged

`open_album(run, folder, index=None, tell=...)` gives an `Album`: a `gallery.stored.Gallery` without
captions. `answers[i].picture` and `album.pictures[row]` are whole paths. Pages take rows from
outside, never paths.

| file | what |
|---|---|
| `scanning.py` | which pictures lie in a folder |
| `index.py` | the index on disk |
| `comparing.py` | what is new, changed or gone |
| `updating.py`, `describing.py` | pictures to rows, in parts that outlive a kill |
| `album.py` | an index as a gallery |
| `judging.py` | which answers are weak |
| `captions.py` | a caption for each picture |
"""

from answering.albums.album import Album as Album
from answering.albums.album import open_album as open_album
from answering.albums.judging import Judge as Judge
