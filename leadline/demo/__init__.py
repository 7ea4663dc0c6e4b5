"""The demo "Will this flight arrive late?": real flights, real weather, the whole loop.

``repack`` makes the data (developers only), ``flights`` reads it, ``features`` says what a feature
is, ``train`` makes two versions of the model ``delay``, ``setup`` seeds a fresh platform with them,
and ``replay`` lives through December on a simulated clock.
"""
