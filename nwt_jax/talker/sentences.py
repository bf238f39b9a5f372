"""Sentences of the synthetic talker: a grammar over everyday words, so that test sentences are new and words shared."""

import random
from collections.abc import Sequence
from typing import Any

_PEOPLE = (
  "my sister|my brother|our neighbour|the teacher|the baker|the old farmer|a young pilot|the mayor|my best friend|"
  "the doctor|a painter|the postman|her uncle|his mother|the gardener|a tall stranger|the whole family|"
  "a famous singer|the captain|the weather man|our cousin|a clever student|the shop owner|somebody|everyone|"
  "the bus driver|grandfather|the piano player|my aunt"
).split("|")
_ANIMALS = (
  "the black cat|a small dog|the brown horse|an owl|a family of ducks|the goat|a white rabbit|the parrot|a fat bear|"
  "a monkey|the wolf|a bee|the old turtle|a lost sheep|a butterfly"
).split("|")
_DID = (
  "found|carried|bought|painted|borrowed|forgot|opened|washed|followed|repaired|hid|showed me|moved|watched|dropped|"
  "picked up|asked for|looked after|gave away|kept|promised us|pushed|wrapped|photographed|measured|brought back"
).split("|")
_THINGS = (
  "a blue bicycle|the yellow boat|an empty bottle|seven apples|a wooden box|the kitchen table|a warm coat|"
  "the front door|an old map|four tickets|a bowl of soup|the garden chair|a heavy suitcase|the morning paper|"
  "a birthday cake|some cheese|the radio|a pair of shoes|a bag of flour|the broken window|"
  "an orange umbrella|fresh bread|a cup of coffee|the piano|"
  "a letter from Rome|the green lamp|a thick book|the wrong keys|some paint|a silver spoon|five eggs|the football"
).split("|")
_PLACES = (
  "in the garden|by the river|at the market|near the old bridge|on the beach|in the kitchen|behind the house|"
  "at the station|under the table|on top of the hill|in a small village|next to the school|at the museum|"
  "across the road|in the forest|on the roof|outside the library|along the shore|in the middle of town|at the farm"
).split("|")
_WHEN = (
  "this morning|last week|on Monday|on Friday afternoon|before breakfast|after the film|every summer|at half past four|"
  "yesterday|in the evening|two days ago|all winter|around noon|in October|just before midnight|once a month|"
  "during the storm|at the weekend"
).split("|")
_GOES = (
  "walks|runs|sings|waits|sleeps|dances|plays|works|reads|swims|laughs|hides|eats|talks to us|shouts|sits quietly"
).split("|")
_QUALITY = (
  "warm|beautiful|far too loud|surprisingly cheap|almost empty|very old|quite simple|full of people|hard to find|"
  "softer than before|wonderful|a bit strange|ready to go|bigger than our house|open until five|as good as new|"
  "cold and wet"
).split("|")
_SUBJECTS = (
  "the water|the music|this room|the bus|the soup|our plan|the answer|the weather|that shop|the new road|my bag|"
  "the moon|the harbour|the whole story|the view from here|their house|the fish|the movie"
).split("|")
_THOUGHT = (
  "I think|we hope|they say|you know|I am sure|she told me|he believes|nobody knew|I heard|it seems|we found out|"
  "please remember"
).split("|")
_OPENERS = (
  "good evening|well|of course|by the way|to be honest|believe it or not|in my opinion|as always|sooner or later|"
  "for example|after all|oh yes|now"
).split("|")
_JOINS = "and|but|so|because|while|before|although".split("|")

_CLAUSES = (
  (_PEOPLE, _DID, _THINGS, _PLACES),
  (_PEOPLE, _DID, _THINGS, _WHEN),
  (_ANIMALS, _GOES, _PLACES, _WHEN),
  (_PEOPLE, _GOES, _PLACES),
  (_SUBJECTS, ("is", "was", "will be", "looks"), _QUALITY, _WHEN),
  (_THOUGHT, _SUBJECTS, ("is", "was"), _QUALITY),
  (_THOUGHT, _PEOPLE, _DID, _THINGS),
)
_SHORT = (
  (_ANIMALS, _GOES, _PLACES),
  (_SUBJECTS, ("is", "was", "looks"), _QUALITY),
  (_PEOPLE, _DID, _THINGS),
)


def pick(chance: random.Random, options: Sequence) -> Any:
  """One of the options. Only `random()` is drawn, whose sequence Python promises to keep from version to version."""
  return options[int(chance.random() * len(options))]


def make_sentence(chance: random.Random) -> str:
  """Makes a sentence of 3 to 5 seconds at an ordinary rate.

  Args: chance: a seeded generator; the sentence is a function of its state.
  Returns: the text, with a capital letter, at most one comma, and a full stop."""

  def clause(forms):
    return " ".join(pick(chance, words) for words in pick(chance, forms))

  shape = chance.random()
  if shape < 0.4:
    text = f"{clause(_SHORT)}, {pick(chance, _JOINS)} {clause(_SHORT)}"
  elif shape < 0.7:
    text = f"{pick(chance, _OPENERS)}, {clause(_CLAUSES)}"
  elif shape < 0.85:
    text = f"{pick(chance, _WHEN)}, {clause(_SHORT)}"
  else:
    text = clause(_CLAUSES)
  return text[0].upper() + text[1:] + "."
