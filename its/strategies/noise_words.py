"""Ordinary English words for the noise control, without mathematics, numbers and professions.

The order is part of what a seed draws: a change here changes every noise persona (bump `RULES_VERSION`).
"""

from __future__ import annotations

_TEXT = """\
a i
am as at be do go he if in is it me my no of oh on or so to up us we
air and ant ape arm ash ask bay bed bee bow boy bus car cat cow cup dew dog ear egg elm eye fan fig fir fly fog fox
fur gem hat hay hen her hip his hut ice ink ivy jam jar joy key lap leg lid lip log mat mud net nut oak oar oat our
owl paw pea pen pet pig pin pot ray rib rug rye saw sea see shy sip sky soy sun tea the tin toe top toy urn van wax
web wet who why wig yak you zip
aunt back bake bark barn bath bean bear bell belt bird blue boat bold boot bowl calm camp cape cave clay coal coat
cook cool corn crow dark deer desk dine dish door dove down drum duck dune dusk dust fair farm fawn fern fish flag
foam fold food fork frog from gale gate glad glow goat gold good gown gray hail hair hand harp hawk heel herb hill
hive home hood horn idea iris iron jade kelp kind king kite knee lace lake lamb lamp lane late lawn leaf lily lime
lion list loaf loom loud lung lush mask meal milk mint mist moon moss moth nest nose oven pail palm path pear pine
pink plum pond pool port rain reed rice road robe rock roof rope rose ruby rust sail salt sand seal seed ship shoe
silk slow snow soap sofa soft soil song soup star stew swan tail tall tent tide toad town tree tuna vase veil very
vine wall warm wave well west wick wild wind wing wolf wood wool yard yarn zinc
above acorn amber apple apron arrow attic bacon badge basil beach berry birch blaze bloom blush bread breed brick
bride broom brush cabin camel candy canoe cedar chair chalk charm cheek chess chest cider clean cliff cloak cloth
cloud clove coast cobra cocoa coral couch crane cream creek crown daisy dance diary drape dream dress eagle earth
elbow fable faint fairy feast fence ferry field flame flint flock flour flute forge fresh frost fruit ghost giant
glass globe glove goose grain grape grass green guest happy harsh haste heron hinge honey horse hotel house humid
ivory jelly jewel juice knife ladle lemon linen llama lodge lucky lunar maple marsh medal melon metal money moose
mossy mouse mural music night noisy ocean olive onion opera orbit otter paint panda paper pasta pearl petal piano
plant plaza plush pouch quail quiet quilt radio raven river robin rough royal salad sauce scarf scent sharp sheep
shelf shell shore silky skirt slate sleep small smoke snack spice spoon stone storm straw stray sugar sunny sweet
table thorn tiger toast tower trail train trout tulip tunic uncle under vapor villa voice wagon water whale wheat
wheel white whole windy world yacht young
almond anchor animal autumn avenue bamboo banana barley basket beaver border bottle branch breeze bridge bright
bronze bucket butter button cactus camera canyon carpet carrot castle cattle cellar cheese cherry circus clover
coffee collar cookie copper cotton course cradle crayon cuckoo danger desert dinner donkey dragon easily falcon
family famous flavor flower forest fossil frozen galaxy garage garden garlic gentle ginger gravel guitar hamlet
hammer harbor hollow insect island jacket jaguar jungle kettle kitten ladder lagoon lavish lively lizard locket
magnet marble market meadow mellow mirror mitten monkey mosaic muffin museum napkin nectar needle nutmeg orange
orchid oyster palace parade parrot pastry peanut pebble pepper person pickle pigeon pillow planet pocket poetry
pollen potato puddle puppet purple quartz rabbit raisin ribbon saddle salmon sandal school shadow shiver silver
simple sleepy smooth spider spring sprout stable street summer sunset temple thread throne tomato travel tundra
tunnel turkey turtle valley velvet violet violin walnut window winter wonder wreath yellow
abandon almanac antique anybody apricot arrange balcony balloon because bedroom begonia blanket blender blossom
bonfire boulder bouquet brother cabbage caramel caravan cartoon ceiling chamber chimney cinders cluster coconut
compass concert cottage country courage cricket crimson crystal cupcake curious curtain cushion custard daytime
delight dessert diamond dolphin evening faraway feather festive firefly fishing flannel foliage forever freight
furnace general giraffe glacier gondola grandma granite gravity habitat hallway hammock harvest heather holiday
horizon hosting however iceberg journey kitchen lantern lasting lattice laundry lettuce library lobster lullaby
machine mansion masonry message miracle monsoon morning mustard mystery network nothing nursery oatmeal october
opening orchard outside package panther parsley passage pasture peacock pelican penguin perfume picture pilgrim
plaster popcorn pottery poultry prairie promise pumpkin quietly raccoon railway rainbow rooster sandbox sapling
sardine scarlet scooter seafood seaside seaweed shelter skyline slender slipper society sparrow special spinach
stadium station stirrup strange stylish sunrise sweater theater thirsty thunder tobacco trumpet unicorn uniform
vanilla variety vehicle velvety village vinegar voyager warbler weather western whisper whistle wishing without
younger
airplane alphabet antelope aquarium backpack backyard bagpipes barefoot baseball bathroom birthday blizzard bonfires
bookcase bookshop bracelet broccoli building bungalow campfire cardinal carnival cheerful chestnut children cinnamon
clothing colorful corridor creamery creature cucumber daffodil darkness daughter daylight delicate dinosaur disguise
doorbell doorstep downtown dreaming duckling eggplant elephant evenings everyday eyesight farewell farmyard favorite
festival firewood flamingo flowered folklore footpath fountain freezing friendly gardenia gathered goldfish gorgeous
grateful hazelnut hedgehog highland hospital icebound kangaroo keepsake landmark laughter lavender lemonade lighting
magazine mahogany marigold midnight moisture monument mountain mushroom mustache necklace newborns northern notebook
nutshell oriental overcast overcoat paradise passport pavement peaceful pheasant platinum pleasant porridge postcard
prairies princess profound raindrop reindeer romantic rosemary sandwich sapphire seashell shoulder sidewalk skeleton
snowfall soothing southern speaking squirrel stallion standing starfish suitcase sunlight surprise swimming tapestry
terrible tortoise tranquil treasure tropical twilight umbrella vineyard visiting volcanic wardrobe whenever woodland
yearning
adventure afternoon alligator amusement apartment artichoke asparagus attention beautiful beginning blueberry
breakfast butterfly cardboard cathedral celebrate centipede character chocolate classroom clockwork courtyard
crocodile dandelion delicious departure different discovery dragonfly driftwood evergreen everybody excellent
existence exploring fireplace furniture gentleman gladiolus grapevine happiness hurricane important incidents
itinerary jellyfish landscape lightning limestone limitless listening mandarine marmalade masterful migration
moonlight nightfall nostalgia nutrition orchestra otherwise parchment peninsula pineapple porcupine raspberry
rectitude remaining sanctuary sandstone sculpture seasoning snowflake somewhere southward spaghetti splendour
starlight storybook submarine sunflower tangerine telephone telescope territory transport turquoise underwood
vegetable velveteen vibration wallpaper warehouse waterfall whirlwind wonderful yesterday
appearance atmosphere background basketball blackberry boardwalks bridesmaid buttermilk candlewick chandelier
cheesecake comforting commanding constantly convenient cottonwood crossroads decoration delightful dishwasher
earthquake enchanting evaporated everything expedition experience fascinated flashlight friendship furnishing
gooseberry grapefruit greenhouse harvesting herbaceous honeycombs impression incredible invitation journeying
kingfisher lighthouse literature livelihood meandering metropolis nectarines northbound occasional ornamental
peppercorn peppermint photograph pilgrimage playground possession pretending profession reasonable reflection
refreshing remarkable respectful restaurant salamander scarecrows settlement silverware skyscraper sleepiness
snapdragon strawberry sweetheart television thoroughly thunderous tournament turbulence understand upbringing
upholstery vegetation vocabulary wanderlust watercolor watermelon wilderness windscreen woodpecker
adventurous agriculture candlelight caterpillar celebration comfortable communicate complicated countryfolk
countryside destination development electricity embroidered environment extravagant fingerprint flourishing
furthermore gingerbread handwriting hospitality hummingbird imagination independent inhabitants inspiration
kindhearted magnificent marshmallow mischievous nightingale observatory opportunity overflowing overlooking
participate personality pomegranate sandcastles springboard sympathetic temperature traditional undergrowth
unfortunate wheelbarrow whereabouts windowpanes
acquaintance breathtaking butterscotch championship conversation disagreeable encyclopedia entertaining enthusiastic
extinguished housekeeping intermediate kaleidoscope neighborhood northeastern organization photographic presentation
refreshments refrigerator rhododendron southwestern thoughtfully thunderstorm tranquillity transparency unbelievable
weatherproof
accommodation advertisement chrysanthemum communication consideration entertainment extraordinary forgetfulness
grandchildren knowledgeable neighbourhood precipitation understanding
accomplishment characteristic disappointment representation responsibility transportation
"""
WORDS: tuple[str, ...] = tuple(_TEXT.split())
